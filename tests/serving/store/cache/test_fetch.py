"""Models from a web server into the cache: whole or not there, fetched once, resumed, verified; what goes wrong is
said, and leaves nothing half."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.serving.store.cache import cache as caches
from fairlead.serving.store.cache import locks
from fairlead.serving.store.cache.cache import CacheError, Full, ModelCache
from fairlead.serving.store.cache.fetch import fetch_model
from fairlead.serving.store.cache.integrity import check
from fairlead.serving.store.cache.wanted import Fetched, Wanted
from fairlead.serving.store.policy import Policy
from fairlead.serving.store.sources import BadSource, Damaged, SourceError, Unreachable
from fairlead.serving.store.sources.http import Patience
from serving.store.cache.models import cache_at, fetched, model
from serving.store.file_server import FileServer, Manners, serving

WEIGHTS = os.urandom(700_001)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "sub/tokenizer.json": b"[]", "empty.txt": b""}
QUICK = Patience(first_wait_s=0.01, longest_wait_s=0.05, silence_s=1, attempts=3)


def index(files: dict[str, bytes]) -> bytes:
    listed = [{"name": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()]
    return json.dumps({"files": listed}).encode()


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    files = {f"/m/{name}": content for name, content in FILES.items()} | {"/m/index.json": index(FILES)}
    async with serving(FileServer(files)) as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


async def fetch(cache: ModelCache, url: str, **wanted: object) -> Fetched:
    return await fetch_model(cache, Wanted(url, patience=QUICK, **wanted), {})  # type: ignore[arg-type]


def leftovers(cache: ModelCache) -> list[str]:
    places = cache.places
    return [str(p) for f in (places.partials, places.entries, places.trash, places.damaged) for p in f.iterdir()]


async def test_a_model_comes_once(server: FileServer, cache: ModelCache) -> None:
    first = await fetch(cache, f"{server.url}/m/")
    assert not first.was_here
    found = {p.relative_to(first.path).as_posix(): p.read_bytes() for p in first.path.rglob("*") if p.is_file()}
    assert found == FILES
    sent = server.sent
    second = await fetch(cache, f"{server.url}/m/", uid="pod-1", slot="first")
    assert second.was_here and server.sent - sent < 2000, "only the index was asked for"
    assert second.path == cache.places.pods / "pod-1" / "first"
    assert (second.path / "model.safetensors").read_bytes() == WEIGHTS
    assert [v.problem for v in check(cache)] == [""]


async def test_the_same_content_elsewhere_is_the_same_model(server: FileServer, cache: ModelCache) -> None:
    server.files |= {path.replace("/m/", "/copy/"): content for path, content in server.files.items()}
    first = await fetch(cache, f"{server.url}/m/")
    second = await fetch(cache, f"{server.url}/copy/")
    assert second.was_here and second.record.digest == first.record.digest
    [only] = cache.models()
    assert set(only.sources) == {f"{server.url}/m/", f"{server.url}/copy/"}


async def test_one_file_is_led_to_itself(server: FileServer, cache: ModelCache) -> None:
    server.files["/model.gguf"] = b"GGUF" + WEIGHTS
    found = await fetch(cache, f"{server.url}/model.gguf", uid="pod-1")
    assert found.path.is_file() and found.path.read_bytes()[:4] == b"GGUF"
    assert "names no checksum" in found.warnings[0]


async def test_a_wrong_checksum_is_tried_twice_and_nothing_is_served(server: FileServer, cache: ModelCache) -> None:
    server.files["/f"] = WEIGHTS
    url = f"{server.url}/f#sha256={hashlib.sha256(WEIGHTS).hexdigest()}"
    server.manners = Manners(lies=1)
    assert (await fetch(cache, url)).path.read_bytes() == WEIGHTS, "once may be an accident"
    other = {"w.bin": WEIGHTS[:5000]}
    server.files |= {"/o/w.bin": WEIGHTS[1:5001], "/o/index.json": index(other)}
    with pytest.raises(Damaged, match=r"promises sha256 .* and sends .*, twice"):
        await fetch(cache, f"{server.url}/o/")
    assert cache.find(f"{server.url}/o/") is None
    assert len(cache.models()) == 1


async def test_a_fetch_that_broke_off_goes_on(server: FileServer, cache: ModelCache) -> None:
    big = os.urandom(9_000_000)
    server.files |= {"/big/w.bin": big, "/big/index.json": index({"w.bin": big})}
    server.manners = Manners(cut_after=5_000_000, cuts=1)
    patience = Patience(first_wait_s=0.01, attempts=1)
    with pytest.raises(Unreachable):
        await fetch_model(cache, Wanted(f"{server.url}/big/", patience=patience), {})
    sent = server.sent
    assert (await fetch(cache, f"{server.url}/big/")).path.read_bytes() == big
    assert server.sent - sent < 5_100_000, "what had been written was not asked for again"


async def test_a_source_that_is_down_does_not_stop_what_is_here(server: FileServer, cache: ModelCache) -> None:
    url = f"{server.url}/m/"
    await fetch(cache, url)
    server.manners = Manners(status=503)
    found = await fetch(cache, url)
    assert found.was_here and "The version of" in found.warnings[0]
    with pytest.raises(Unreachable):
        await fetch(cache, f"{server.url}/other/")


async def test_a_source_that_means_one_version_is_not_asked_again(server: FileServer, cache: ModelCache) -> None:
    server.files["/f"] = WEIGHTS
    url = f"{server.url}/f#sha256={hashlib.sha256(WEIGHTS).hexdigest()}"
    await fetch(cache, url)
    asked = server.asked["/f"]
    assert (await fetch(cache, url)).was_here and server.asked["/f"] == asked


async def test_a_new_version_is_another_model(server: FileServer, cache: ModelCache) -> None:
    first = await fetch(cache, f"{server.url}/m/")
    server.files["/m/config.json"] = b'{"new": 1}'
    server.files["/m/index.json"] = index(FILES | {"config.json": b'{"new": 1}'})
    second = await fetch(cache, f"{server.url}/m/")
    assert second.record.digest != first.record.digest and len(cache.models()) == 2


async def test_a_file_that_lost_bytes_is_fetched_anew(server: FileServer, cache: ModelCache) -> None:
    found = await fetch(cache, f"{server.url}/m/")
    os.truncate(found.path / "model.safetensors", 10)
    again = await fetch(cache, f"{server.url}/m/")
    assert not again.was_here and (again.path / "model.safetensors").read_bytes() == WEIGHTS


async def test_rot_is_found_and_set_aside(server: FileServer, cache: ModelCache) -> None:
    found = await fetch(cache, f"{server.url}/m/")
    (found.path / "model.safetensors").write_bytes(b"\0\0\0\0" + WEIGHTS[4:])
    [verdict] = check(cache)
    assert verdict.problem.startswith("model.safetensors is not what came in")
    assert cache.models() == [] and list(cache.places.damaged.iterdir())
    again = await fetch(cache, f"{server.url}/m/", uid="pod-1")
    (again.path / "stranger").write_bytes(b"")
    [verdict] = check(cache)
    assert verdict.problem == "stranger is there and does not belong to it"
    assert (again.path / "config.json").exists(), "under a running pod it stays until it is fetched anew"
    third = await fetch(cache, f"{server.url}/m/", uid="pod-2")
    assert not third.was_here and not (again.path / "stranger").exists()


async def test_what_does_not_fit_is_refused_before_a_byte_comes(server: FileServer, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "small", 300_000)
    with pytest.raises(Full, match="the whole cache may hold"):
        await fetch(cache, f"{server.url}/m/")
    assert server.asked["/m/model.safetensors"] == 0 and leftovers(cache) == []


async def test_the_capacity_is_the_folders(server: FileServer, tmp_path: Path) -> None:
    ModelCache(tmp_path / "cache", 300_000)
    with pytest.raises(Full, match=r"293\.0 KiB"):
        await fetch(ModelCache(tmp_path / "cache"), f"{server.url}/m/")
    ModelCache(tmp_path / "cache", 3_000_000)
    await fetch(ModelCache(tmp_path / "cache"), f"{server.url}/m/")


async def test_unknown_sizes_take_room_as_they_come(tmp_path: Path) -> None:
    big = os.urandom(9_000_000)
    files = {"/m/w.bin": big, "/m/index.json": json.dumps({"files": [{"name": "w.bin"}]}).encode()}
    async with serving(FileServer(files)) as server:
        server.manners = Manners(ranges=False)
        found = await fetch(ModelCache(tmp_path / "large"), f"{server.url}/m/")
        assert found.path.read_bytes() == big
        small = ModelCache(tmp_path / "small", 4_000_000)
        with pytest.raises(Full):
            await fetch(small, f"{server.url}/m/")
        assert small.models() == []


async def test_signatures_are_of_artifacts(server: FileServer, cache: ModelCache) -> None:
    with pytest.raises(BadSource, match="only artifacts"):
        await fetch(cache, f"{server.url}/m/", verification=Policy(("key",)))


async def test_two_at_once_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    server.manners = Manners(chunk_s=0.02)
    one, two = ModelCache(tmp_path / "cache"), ModelCache(tmp_path / "cache")
    found = await asyncio.gather(*(fetch(c, f"{server.url}/m/") for c in (one, two)))
    assert sorted(f.was_here for f in found) == [False, True]
    assert server.asked["/m/model.safetensors"] == 1


async def test_many_models_at_once_keep_within_the_capacity(tmp_path: Path) -> None:
    sources = [model(tmp_path / name, 200_000, name) for name in "abcdef"]
    root, capacity = tmp_path / "cache", 700_000

    async def attempt(source: str) -> str:
        try:
            await fetched(cache_at(root, capacity), source)
        except (CacheError, SourceError) as error:
            return str(error)
        return ""

    said = await asyncio.gather(*(attempt(s) for s in sources))
    assert all("lacking" in text for text in said if text), said
    assert sum(m.record.bytes for m in cache_at(root, capacity).models()) <= capacity


async def test_a_lock_that_is_never_let_go_is_told(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "LOCK_S", 0.1)
    with locks.locked(cache.places.lock, 1), pytest.raises(CacheError, match="another process holds"):
        cache.models()
