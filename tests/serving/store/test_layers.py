"""Archives into folders: layers lie over each other as an image's do, nothing leads out, and what a lying or killed
attempt has left is in no model."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from fairlead.serving.store import oci
from fairlead.serving.store.errors import BadArtifact, WrongContent
from fairlead.serving.store.folder import MARK
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.repository import InMemory
from serving.store.models import contents
from serving.store.pulling import Watched, fetch


def _archive(members: dict[str, bytes | None], links: dict[str, str] | None = None, hard: bool = False) -> bytes:
    """A tar archive; None is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), target
            tar.addfile(info)
    return buffer.getvalue()


def image(folder: Path, layers: Sequence[bytes], media_type: str = oci.IMAGE_LAYER, tag: str = "v1") -> Path:
    """A layout with an image of these layers."""
    repository = LayoutRepository(folder, create=True)
    descriptors = []
    for content, kind in [(b"{}", oci.IMAGE_CONFIG), *((layer, media_type) for layer in layers)]:
        descriptors.append(Descriptor(media_type=kind, digest=oci.digest_of(content), size=len(content)))
        repository.put_blob(descriptors[-1], InMemory(content), lambda size: None)
    manifest = oci.encode(Manifest(config=descriptors[0], layers=descriptors[1:]))
    repository.put_manifest(manifest, oci.MANIFEST, tag)
    return folder


def test_layers_of_an_image_lie_over_each_other(tmp_path: Path) -> None:
    below = _archive(
        {"models/a": b"old" * 1000, "models/gone": b"x", "models/d/one": b"1", "models/e/two": b"2", "etc/no": b""},
        {"models/link": "a"},
    )
    above = _archive(
        {
            "models/a": b"new",
            "models/.wh.gone": b"",
            "models/d/.wh..wh..opq": b"",
            "models/d/three": b"3",
            "models/e": b"now a file",
            "models/link": b"no link any more",
        }
    )
    layout = image(tmp_path / "l", [below, above])
    for _ in range(5):
        found = fetch(layout, tmp_path / "out", replace=True)
        wanted = {"a": b"new", "d/three": b"3", "e": b"now a file", "link": b"no link any more"}
        assert {path: content for path, (content, _) in contents(tmp_path / "out").items()} == wanted
        assert set(found.files) == set(wanted)
        (tmp_path / "out" / MARK).unlink()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([_archive({"models/../../evil": b"x"})], "refused"),
        ([_archive({}, {"models/out": "../../../etc"})], "leads outside"),
        ([_archive({}, {"models/out": "/etc"})], "which is outside"),
        ([_archive({}, {"models/d": "../.."}), _archive({"models/d/x": b""}, {"models/up": "d/../../x"})], "outside"),
        ([_archive({}, {"models/hard": "etc/passwd"}, hard=True)], "which is outside"),
        ([_archive({"models/a": b"x"})[:700]], "cannot be unpacked|no whole"),
        ([b"no archive at all" * 100], "cannot be unpacked"),
    ],
    ids=["up", "link up", "link to a root", "through a link", "hard link", "short", "no archive"],
)  # fmt: skip
def test_archives_that_lead_out_are_refused(tmp_path: Path, layers: list[bytes], words: str) -> None:
    layout = image(tmp_path / "l", layers)
    with pytest.raises(BadArtifact, match=words):
        fetch(layout, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out").exists() and not (tmp_path / "evil").exists()
    outside = [path for path in tmp_path.rglob("*") if path.name in ("evil", "x") and ".partial" not in str(path)]
    assert outside == []


def test_what_a_lying_archive_left_is_in_no_model(tmp_path: Path) -> None:
    good = _archive({"models/weights.bin": b"w" * 5000})
    layout = image(tmp_path / "l", [good])
    evil = _archive({"models/weights.bin": b"e" * 5000, "models/evil.py": b"import os"})
    watched = Watched(layout)
    sent = iter([evil])
    watched.lie = lambda part: next(sent, evil)[: len(part)].ljust(len(part), b"\0") if part else part
    with pytest.raises((WrongContent, BadArtifact)):
        fetch(watched, tmp_path / "out")
    fetch(layout, tmp_path / "out")
    assert contents(tmp_path / "out") == {"weights.bin": (b"w" * 5000, False)}


def test_a_kill_while_layers_are_laid_begins_them_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below, above = _archive({"models/a": b"1", "models/b": b"1"}), _archive({"models/.wh.b": b"", "models/c": b"2"})
    layout = image(tmp_path / "l", [below, above])
    from fairlead.serving.store import folder

    real = folder.lay_over

    def killed(layer: Path, *arguments: object, **named: object) -> None:
        real(layer, *arguments, **named)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "lay_over", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(layout, tmp_path / "out")
    monkeypatch.setattr(folder, "lay_over", real)
    assert set(fetch(layout, tmp_path / "out").files) == {"a", "c"}
    assert set(contents(tmp_path / "out")) == {"a", "c"} and only(tmp_path, "l", "out")


def only(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} == set(names)
