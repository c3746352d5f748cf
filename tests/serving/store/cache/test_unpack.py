"""Archives of models: what is in good ones becomes the model, bad ones touch nothing outside their folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow
import pytest

from fairlead.serving.store.cache.unpack import unpack
from fairlead.serving.store.sources import Damaged, NotThere, Unsafe

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 10_000, "sub/tokenizer.json": b"[]"}


def archive(members: dict[str, bytes], kind: str = "", links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def unpacked(tmp_path: Path, name: str, content: bytes) -> dict[str, bytes]:
    (tmp_path / name).write_bytes(content)
    folder = tmp_path / "files"
    folder.mkdir()
    grown: list[int] = []
    files = unpack(tmp_path / name, folder, grown.append)
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {f.name: f.size for f in files} == {n: len(c) for n, c in found.items()}
    assert grown and grown[-1] == sum(len(c) for c in found.values())
    return found


@pytest.mark.parametrize("top", ["", "./", "m/", "./m/"])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"])
def test_files_come_out(tmp_path: Path, name: str, top: str) -> None:
    content = archive({top + n: c for n, c in FILES.items()}, "gz" if name.endswith("gz") else "")
    if name.endswith("zst"):
        content = pyarrow.Codec("zstd").compress(content, asbytes=True)
    assert unpacked(tmp_path, name, content) == FILES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("up.tar", archive({"../out": b"x"})),
        ("absolute.tar", archive({"/tmp/fairlead-never": b"x"})),
        ("link.tar", archive({"a": b"x"}, links={"b": "/etc/passwd"})),
        ("twice.tar", archive({"a": b"x"}) + b""),
        ("folder.tar", archive({"a": b"x", "a/b": b"y"})),
        ("cut.tar", archive(FILES)[:40_000]),
        ("none.tar.gz", b"no archive"),
        ("nothing.tar", archive({})),
    ],
)
def test_what_leads_out_or_is_not_whole_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    if name == "twice.tar":
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for _ in range(2):
                info = tarfile.TarInfo("a")
                info.size = 1
                tar.addfile(info, io.BytesIO(b"x"))
        content = out.getvalue()
    with pytest.raises((Unsafe, Damaged, NotThere)):
        unpacked(tmp_path, name, content)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["files", name])
