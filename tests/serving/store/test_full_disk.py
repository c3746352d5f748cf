"""Disks that are full, or fill up while a model comes: it is said at once, in one line, and nothing half counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairlead.serving.store.artifacts import Pushing, pack, push_model
from fairlead.serving.store.errors import NoSpace
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel
from serving.store.models import contents, write_model
from serving.store.pulling import Watched, fetch, pushed

FORMS: dict[str, dict[str, object]] = {
    "modelpack": {},
    "image": {"form": "image"},
    "zstd": {"form": "image", "compression": "zstd"},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m", (2_000_000,) * 3)


@contextmanager
def filled(disk: Path, *, free: int) -> Iterator[None]:
    """Somebody else's file, so that only this much is left."""
    stats = os.statvfs(disk)
    other = disk / "other"
    other.write_bytes(bytes(max(0, stats.f_bavail * stats.f_frsize - free)))
    yield
    other.unlink()


@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS.keys())
def test_a_disk_that_is_full_is_told_before_a_byte_comes(
    small_disk: Path, model: Path, tmp_path: Path, how: dict[str, object]
) -> None:
    pushed(model, tmp_path / "l", **how)
    with filled(small_disk, free=100_000):
        watched = Watched(tmp_path / "l")
        with pytest.raises(NoSpace, match="are missing; free them, or pull to another disk"):
            fetch(watched, small_disk / "out")
        assert watched.read == 0 and [path.name for path in small_disk.iterdir()] == ["other"]
    fetch(tmp_path / "l", small_disk / "out")
    assert contents(small_disk / "out") == contents(model)


@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS.keys())
def test_a_disk_that_fills_up_meanwhile(small_disk: Path, model: Path, tmp_path: Path, how: dict[str, object]) -> None:
    pushed(model, tmp_path / "l", **how)
    watched = Watched(tmp_path / "l")

    def grab(part: bytes) -> bytes:
        if not (small_disk / "other").exists():
            stats = os.statvfs(small_disk)
            (small_disk / "other").write_bytes(bytes(max(0, stats.f_bavail * stats.f_frsize - 500_000)))
        return part

    watched.lie = grab
    with pytest.raises(NoSpace):
        fetch(watched, small_disk / "out")
    assert not (small_disk / "out").exists()
    (small_disk / "other").unlink()
    fetch(tmp_path / "l", small_disk / "out")
    assert contents(small_disk / "out") == contents(model)
    assert [path.name for path in small_disk.iterdir()] == ["out"]


def test_reuse_on_a_disk_that_is_full(small_disk: Path, model: Path, tmp_path: Path) -> None:
    pushed(model, tmp_path / "l", "v1")
    fetch(tmp_path / "l", tmp_path / "old")
    (model / "config.json").write_text("{}")
    pushed(model, tmp_path / "l", "v2")
    with filled(small_disk, free=1_000_000), pytest.raises(NoSpace):
        fetch(tmp_path / "l", small_disk / "out", "v2", reuse=(tmp_path / "old",))
    fetch(tmp_path / "l", small_disk / "out", "v2", reuse=(tmp_path / "old",))
    assert contents(small_disk / "out") == contents(model)


def test_a_push_into_a_layout_on_a_full_disk(small_disk: Path, model: Path) -> None:
    at = parse_reference(f"layout://{small_disk}/l:v1")
    with filled(small_disk, free=3_000_000), pytest.raises(NoSpace, match="no room for"):
        push_model(Pushing(model, at), Silent(), Cancel())
    repository = LayoutRepository(small_disk / "l")
    assert repository.tags() == []
    push_model(Pushing(model, at), Silent(), Cancel())
    assert repository.tags() == ["v1"] and not list((small_disk / "l" / "blobs" / "sha256").glob(".*"))


def test_compressed_layers_without_room(small_disk: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    pushing = Pushing(model, parse_reference("layout:///nowhere"), form="image", compression="zstd")
    with filled(small_disk, free=2_000_000):
        with pytest.raises(NoSpace, match="TMPDIR"):
            pack(pushing, Silent(), Cancel())
        assert [path.name for path in small_disk.iterdir()] == ["other"], "what was written is gone"
