"""OCI layouts on disk: what skopeo and the specification expect, damage that is found and mended, and prunes that take
nothing from under a push or a pull."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.serving.store import oci
from fairlead.serving.store.artifacts import Pushing, push_model
from fairlead.serving.store.catalog import copy, inspect, list_tags, ordered, prune, put_tag
from fairlead.serving.store.check import check_layers
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import BadArtifact, NotFound, StoreError, WrongContent
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.oci import Descriptor
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.pull import resolve
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel, InMemory
from serving.store.models import contents, write_model
from serving.store.pulling import fetch, pushed


def blobs(layout: Path) -> dict[str, Path]:
    return {path.name: path for path in (layout / "blobs" / "sha256").iterdir()}


def weights(layout: Path) -> Path:
    return max(blobs(layout).values(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("form", ["modelpack", "image"])
def test_a_layout_is_what_the_specification_says(tmp_path: Path, form: str, skopeo: tuple[str, dict[str, str]]) -> None:
    model = write_model(tmp_path / "m", (300_000,))
    pushed(model, tmp_path / "l", "v1", form=form)
    assert json.loads((tmp_path / "l" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((tmp_path / "l" / "index.json").read_text())
    assert index["schemaVersion"] == 2 and index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert index["manifests"][-1]["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
    assert {path.name for path in (tmp_path / "l").iterdir()} == {"oci-layout", "index.json", "blobs"}
    for name, path in blobs(tmp_path / "l").items():
        assert oci.digest_of(path.read_bytes()) == f"sha256:{name}"
    program, environment = skopeo
    command = [program, "--insecure-policy", "inspect", "--raw", f"oci:{tmp_path}/l:v1"]
    raw = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60).stdout
    assert oci.digest_of(raw) == index["manifests"][-1]["digest"]


def test_what_is_no_layout_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no OCI layout there"):
        LayoutRepository(tmp_path / "none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(BadArtifact, match="neither empty nor an OCI layout"):
        LayoutRepository(tmp_path / "mine", create=True)
    assert os.listdir(tmp_path / "mine") == ["file"]


@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_a_torn_blob_is_found_and_pushed_again(tmp_path: Path, harm: str) -> None:
    model = write_model(tmp_path / "m", (300_000,))
    pushed(model, tmp_path / "l")
    victim = weights(tmp_path / "l")
    if harm == "truncate":
        os.truncate(victim, 1000)
    else:
        victim.unlink()
    repository = LayoutRepository(tmp_path / "l")
    problems = check_layers(repository, resolve(repository, "v1")[1], Settings(), 2, Silent(), Cancel())
    assert len(problems) == 1 and victim.name in problems[0]
    with pytest.raises(StoreError, match=victim.name):
        fetch(tmp_path / "l", tmp_path / "out")
    pushed(model, tmp_path / "l")
    fetch(tmp_path / "l", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(model)


def test_a_changed_blob_is_found(tmp_path: Path) -> None:
    pushed(write_model(tmp_path / "m", (300_000,)), tmp_path / "l")
    victim = weights(tmp_path / "l")
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    with pytest.raises(WrongContent, match="turned out to be"):
        fetch(tmp_path / "l", tmp_path / "out")
    manifest = tmp_path / "l" / "blobs" / "sha256" / resolve(LayoutRepository(tmp_path / "l"), "v1")[0][7:]
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(WrongContent, match="the layout is damaged"):
        fetch(tmp_path / "l", tmp_path / "out2")


def test_a_layer_asked_for_as_a_manifest_is_not_read_whole(tmp_path: Path) -> None:
    repository = LayoutRepository(tmp_path / "l", create=True)
    size = oci.MANIFEST_LIMIT_BYTES + 1
    descriptor = Descriptor(media_type="x/y", digest=oci.digest_of(bytes(size)), size=size)
    repository.put_blob(descriptor, InMemory(bytes(size)), lambda moved: None)
    with pytest.raises(BadArtifact, match="no manifest"):
        repository.manifest(descriptor.digest)


def test_a_prune_leaves_what_kept_tags_share(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (1 << 20,) * 6)
    for i in range(4):
        (model / "config.json").write_text(json.dumps({"version": i}))
        (model / f"only{i}.bin").write_bytes(os.urandom(10_000))
        pushed(model, tmp_path / "l", f"v{i}")
        (model / f"only{i}.bin").unlink()
    repository = LayoutRepository(tmp_path / "l")
    put_tag(repository, "v0", "stable")
    before = sum(path.stat().st_size for path in blobs(tmp_path / "l").values())
    dry = prune(repository, keep=1, pattern="v*", dry_run=True)
    assert sum(path.stat().st_size for path in blobs(tmp_path / "l").values()) == before
    done = prune(repository, keep=1, pattern="v*", dry_run=False)
    assert done.removed == dry.removed == ("v2", "v1", "v0") and done.problems == ()
    after = sum(path.stat().st_size for path in blobs(tmp_path / "l").values())
    assert 0 < done.freed_bytes == before - after
    assert repository.tags() == ["stable", "v3"]
    for tag in repository.tags():
        fetch(tmp_path / "l", tmp_path / tag, tag)
    assert prune(repository, keep=1, pattern="v*", dry_run=False).freed_bytes == 0


def test_a_tag_whose_manifest_is_lost_can_be_pruned(tmp_path: Path) -> None:
    for i in range(2):
        pushed(write_model(tmp_path / f"m{i}", (1000,), seed=i), tmp_path / "l", f"v{i}")
    repository = LayoutRepository(tmp_path / "l")
    (tmp_path / "l" / "blobs" / "sha256" / repository.manifest("v0")[0].digest[7:]).unlink()
    problems = {listed.tag: bool(listed.problem) for listed in list_tags(repository, 2, Cancel())}
    assert problems == {"v1": False, "v0": True}
    done = prune(repository, keep=1, pattern="*", dry_run=False)
    assert done.removed == ("v0",) and repository.tags() == ["v1"]
    fetch(tmp_path / "l", tmp_path / "out", "v1")


def test_what_killed_pushes_left_is_collected(tmp_path: Path) -> None:
    pushed(write_model(tmp_path / "m", (1000,)), tmp_path / "l")
    folder = tmp_path / "l" / "blobs" / "sha256"
    (folder / ".half").write_bytes(b"x" * 1000)
    (tmp_path / "l" / ".index.json.0123").write_text("{")
    repository = LayoutRepository(tmp_path / "l")
    assert repository.collect() == 1001
    assert not list(folder.glob(".*")) and {p.name for p in (tmp_path / "l").iterdir()} == {
        "oci-layout", "index.json", "blobs",
    }  # fmt: skip


def test_a_prune_takes_nothing_from_under_a_push(tmp_path: Path) -> None:
    pushed(write_model(tmp_path / "m", (1000,)), tmp_path / "l")
    # A push that has sent a blob, and not yet the manifest that leads to it.
    pushing = LayoutRepository(tmp_path / "l")
    blob = Descriptor(media_type="x/y", digest=oci.digest_of(b"new"), size=3)
    pushing.put_blob(blob, InMemory(b"new"), lambda moved: None)
    pruning = LayoutRepository(tmp_path / "l")
    done = prune(pruning, keep=0, pattern="none*", dry_run=False)
    assert done.freed_bytes == 0 and "another process pushes" in done.problems[0]
    assert pushing.has_blob(blob)
    pushing.close()
    assert prune(pruning, keep=0, pattern="none*", dry_run=False).freed_bytes == 3


def test_pushes_pulls_and_prunes_at_once(tmp_path: Path) -> None:
    models = [write_model(tmp_path / f"m{i}", (400_000, 100), seed=i % 2) for i in range(3)]
    LayoutRepository(tmp_path / "l", create=True).close()
    problems: list[BaseException] = []

    def caught(work: object, *arguments: object) -> None:
        try:
            work(*arguments)  # type: ignore[operator]
        except BaseException as error:
            problems.append(error)

    def push_and_pull(i: int) -> None:
        for n in range(2):
            pushed(models[i], tmp_path / "l", f"p{i}-{n}")
            fetch(tmp_path / "l", tmp_path / f"out{i}-{n}", f"p{i}-{n}")
            assert contents(tmp_path / f"out{i}-{n}") == contents(models[i])

    over = threading.Event()

    def prune_on() -> None:
        while not over.is_set():
            repository = LayoutRepository(tmp_path / "l")
            prune(repository, keep=0, pattern="none*", dry_run=False)
            repository.close()

    pruner = threading.Thread(target=caught, args=(prune_on,))
    workers = [threading.Thread(target=caught, args=(push_and_pull, i)) for i in range(3)]
    for thread in (pruner, *workers):
        thread.start()
    for thread in workers:
        thread.join(100)
    over.set()
    pruner.join(20)
    assert problems == []
    assert len(LayoutRepository(tmp_path / "l").tags()) == 6


def test_copies_share_what_is_there(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (1 << 20,) * 6)
    pushed(model, tmp_path / "l", "v1")
    (model / "config.json").write_text("{}")
    pushed(model, tmp_path / "l", "v2")
    origin, target = LayoutRepository(tmp_path / "l"), LayoutRepository(tmp_path / "other", create=True)
    for tag, most in (("v1", 7 << 20), ("v2", 10_000)):
        copied = copy(origin, tag, target, tag, progress=Silent(), threads=2, cancel=Cancel())
        assert copied.digest == origin.manifest(tag)[0].digest and copied.sent_bytes < most
    assert inspect(target, "v2").files == inspect(origin, "v2").files


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), unique=True), st.randoms())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_versions_are_ordered_by_their_numbers(versions: list[tuple[int, int]], chance: object) -> None:
    tags = [f"v{major}.{minor}" for major, minor in versions]
    chance.shuffle(tags)  # type: ignore[attr-defined]
    assert ordered(tags) == [f"v{major}.{minor}" for major, minor in sorted(versions, reverse=True)]
    assert ordered([*tags, "latest"])[0] == "latest"


def test_a_push_of_a_digest_says_what_it_would_have_been(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (1000,))
    reference = parse_reference(f"layout://{tmp_path}/l@sha256:{'0' * 64}")
    with pytest.raises(StoreError, match="leave the digest out"):
        push_model(Pushing(model, reference), Silent(), Cancel())
