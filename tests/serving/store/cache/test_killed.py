"""Real processes that fetch, killed at any moment and several at a time, and a disk that fills up: there is never half
a model, and the next fetch succeeds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.serving.store.cache.cache import ModelCache
from fairlead.serving.store.cache.holds import is_held
from fairlead.serving.store.cache.integrity import check
from patience import PATIENCE_S
from serving.store.cache.models import model
from serving.store.cache.test_fetch import index
from serving.store.file_server import FileServer, Manners, serving

pytestmark = pytest.mark.xdist_group("model-store")
COMMAND = [sys.executable, "-m", "fairlead.cli.main", "model"]
WEIGHTS = {f"w{n}.safetensors": os.urandom(3_000_000) for n in range(3)}


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    files = {f"/m/{name}": content for name, content in WEIGHTS.items()} | {"/m/index.json": index(WEIGHTS)}
    async with serving(FileServer(files, Manners(chunk_s=0.004))) as found:
        yield found


async def start(*arguments: str | Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *COMMAND, *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment
    )


async def test_kills_at_random_moments(server: FileServer, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    moments = random.Random(7)
    for _ in range(10):
        fetch = await start("fetch", f"{server.url}/m/", "--cache", cache.places.root)
        try:
            await asyncio.wait_for(fetch.wait(), moments.uniform(0.2, 0.7))
        except TimeoutError:
            fetch.send_signal(signal.SIGKILL)
            await fetch.wait()
        for cached in cache.models():
            assert [v.problem for v in check(cache)] == [""], cached
    server.manners = Manners()
    fetch = await start("fetch", f"{server.url}/m/", "--cache", cache.places.root, "--link", tmp_path / "link")
    out, said = await fetch.communicate()
    assert fetch.returncode == 0, said
    link = tmp_path / "link"
    assert out.decode().split() == [cache.models()[0].record.digest, str(link)]
    assert {p.name: p.read_bytes() for p in link.iterdir()} == WEIGHTS
    assert list(cache.places.partials.iterdir()) == [] and list(cache.places.trash.iterdir()) == []


async def test_two_processes_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    arguments = ("fetch", f"{server.url}/m/", "--cache", tmp_path / "cache", "--quiet")
    both = [await start(*arguments) for _ in range(2)]
    outs = [await process.communicate() for process in both]
    assert [p.returncode for p in both] == [0, 0], outs
    assert outs[0][0] == outs[1][0]
    assert server.sent < 1.1 * sum(map(len, WEIGHTS.values()))


async def test_a_holder_keeps_the_model_until_it_is_told_to_stop(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    hold = await start("hold", "--cache", cache.places.root, POD_UID="pod-1")
    fetch = await start(
        "fetch", model(tmp_path / "m"), "--cache", cache.places.root, "--slot", "first", POD_UID="pod-1"
    )
    out, said = await fetch.communicate()
    assert fetch.returncode == 0, said
    path = cache.places.pods / "pod-1" / "first"
    assert out.decode().split()[1] == str(path) and (path / "config.json").exists()
    deadline = time.monotonic() + PATIENCE_S
    # Not only the link counts, which does so for a minute: the holder has to be there to be told anything.
    while not (is_held(cache.places, "pod-1") and cache.models()[0].pods):
        assert time.monotonic() < deadline
    assert cache.prune() == [], "a pod uses it"
    hold.send_signal(signal.SIGTERM)
    await hold.wait()
    assert not path.parent.exists()
    assert cache.prune() == [str(tmp_path / "m")]


async def test_what_a_fetch_says_when_it_fails(tmp_path: Path) -> None:
    missing = await start("fetch", tmp_path / "none", "--cache", tmp_path / "cache")
    out, said = await missing.communicate()
    assert missing.returncode == 1 and out == b"" and b"there is no" in said and said.count(b"\n") == 1
    small = await start("fetch", model(tmp_path / "m"), "--cache", tmp_path / "cache", "--capacity", "64Ki")
    _, said = await small.communicate()
    assert small.returncode == 1 and b"the whole cache may hold 64.0 KiB" in said


async def test_a_disk_that_is_full(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "other").write_bytes(b"x" * 7_900_000)
    full = await start("fetch", model(tmp_path / "m", 1_000_000), "--cache", small_disk / "cache")
    _, said = await full.communicate()
    assert full.returncode == 1 and b"no room for" in said and b"are lacking" in said
    cache = ModelCache(small_disk / "cache")
    assert cache.models() == [] and list(cache.places.partials.iterdir()) == []


async def test_a_disk_that_fills_up_meanwhile(small_disk: Path, server: FileServer) -> None:
    server.files |= {"/s/w.bin": os.urandom(5_000_000)}
    content = server.files["/s/w.bin"]
    url = f"{server.url}/s/w.bin#sha256={hashlib.sha256(content).hexdigest()}"
    server.manners = Manners(chunk_s=0.02)
    fetch = await start("fetch", url, "--cache", small_disk / "cache", "--capacity", "7Mi")
    async with asyncio.timeout(PATIENCE_S):
        await server.began.wait()
    (small_disk / "other").write_bytes(b"x" * 6_000_000)
    _, said = await fetch.communicate()
    assert fetch.returncode == 1 and b"filled up while" in said, said
    cache = ModelCache(small_disk / "cache")
    assert cache.models() == [] and list(cache.places.partials.iterdir()) == [], "nothing half stays on a full disk"
    (small_disk / "other").unlink()
    server.manners = Manners()
    again = await start("fetch", url, "--cache", small_disk / "cache", "--capacity", "7Mi")
    assert await again.wait() == 0
