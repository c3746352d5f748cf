"""Unpacking a tar layer as it arrives: hashed before it is believed, members only below the folder."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.serving.store.errors import BadArtifact, WrongContent
from fairlead.serving.store.plan import Archive, check_path
from fairlead.serving.store.repository import BUFFER_BYTES

_MOST_MEMBERS = 1_000_000


def unpack(
    archive: Archive,
    read: Callable[[memoryview], int],
    folder: Path,
    reserve: Callable[[int], None],
    *,
    durable: bool = False,
) -> list[str]:
    """Unpack what `read` brings below `folder`, which is this layer's own; the paths of the files, all written.

    `reserve` is told of each file's size before it is written. Links are refused unless they stay inside (hard and
    symbolic), special files are refused; the whiteouts of an image's layer are kept as they are. `durable`: each file
    is on the disk. Raises WrongContent if the layer's digest is not met; what is written then must be thrown away.
    """
    hashed = Hashed(read)
    where = f"layer {archive.layer.digest}"
    try:
        with tarfile.open(fileobj=_plain(hashed, archive), mode="r|", bufsize=BUFFER_BYTES) as tar:
            paths = _members(tar, archive, folder, where, reserve, durable)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        hashed.drain()
        hashed.check(archive.layer.digest, archive.layer.size)
        raise BadArtifact(f"{where}: cannot be unpacked as {archive.layer.media_type}: {error}") from error
    hashed.drain()
    hashed.check(archive.layer.digest, archive.layer.size)
    return paths


class Hashed(io.RawIOBase):
    """A readable file that hashes what passes."""

    def __init__(self, read: Callable[[memoryview], int]) -> None:
        self._read = read
        self._hash = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        view = memoryview(into).cast("B")
        count = self._read(view)
        self._hash.update(view[:count])
        self.size += count
        return count

    def drain(self) -> None:
        """Read to the end: an archive may be followed by padding."""
        room = bytearray(BUFFER_BYTES)
        while self.readinto(room):
            pass

    def check(self, digest: str, size: int) -> None:
        if (found := f"sha256:{self._hash.hexdigest()}") != digest or self.size != size:
            raise WrongContent(f"layer {digest} of {size} bytes turned out to be {found} of {self.size}")


def _plain(hashed: Hashed, archive: Archive) -> Any:
    buffered = io.BufferedReader(hashed, BUFFER_BYTES)
    if archive.compression == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=buffered)
    if archive.compression == "zstd":
        # pyarrow is a dependency already; Python has zstd of its own only from 3.14 on.
        import pyarrow

        return pyarrow.CompressedInputStream(pyarrow.PythonFile(buffered, mode="r"), "zstd")
    return buffered


def _members(
    tar: tarfile.TarFile, archive: Archive, folder: Path, where: str, reserve: Callable[[int], None], durable: bool
) -> list[str]:
    paths: list[str] = []
    for number, member in enumerate(tar):
        if number >= _MOST_MEMBERS:
            raise BadArtifact(f"{where}: more than {_MOST_MEMBERS} members")
        name = _name(member, archive.strip)
        if name is None:
            continue
        check_path(name, where)
        target = folder / name
        if not _is_below(target.parent, folder):
            raise BadArtifact(f"{where}: {member.name!r} would be written outside, through a link")
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif member.isreg():
            reserve(member.size)
            _write(tar, member, target, durable)
            paths.append(name)
        elif member.issym() or member.islnk():
            _link(member, name, archive, folder, where)
            paths.append(name)
        else:
            raise BadArtifact(f"{where}: {member.name!r} is neither file, folder nor link")
    # Looked at last: where a link leads depends on the links that came after it.
    for name in paths:
        if not _is_below(folder / name, folder):
            raise BadArtifact(f"{where}: {name!r} leads outside")
    return paths


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _name(member: tarfile.TarInfo, strip: str) -> str | None:
    """The member's path in the folder; None: it belongs elsewhere in an image, or is the folder itself."""
    name = member.name
    while name.startswith("./"):
        name = name[2:]
    name = name.lstrip("/") if strip else name
    if strip:
        if not name.startswith(strip):
            return None
        name = name.removeprefix(strip)
    name = name.rstrip("/")
    return name if name not in ("", ".") else None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, durable: bool) -> None:
    source = tar.extractfile(member)
    assert source is not None, "a regular member has content"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        target.unlink()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, BUFFER_BYTES)
        os.fchmod(file.fileno(), 0o755 if member.mode & 0o100 else 0o644)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _link(member: tarfile.TarInfo, name: str, archive: Archive, folder: Path, where: str) -> None:
    target = folder / name
    if member.islnk():
        linked = tarfile.TarInfo(member.linkname)
        inside = _name(linked, archive.strip)
        if inside is None:
            raise BadArtifact(f"{where}: {name!r} is a link to {member.linkname!r}, which is outside")
        check_path(inside, where)
        origin = folder / inside
        if not origin.is_file() or origin.is_symlink():
            raise BadArtifact(f"{where}: {name!r} is a link to {member.linkname!r}, which is no file before it")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(origin, target)
        return
    if member.linkname.startswith("/"):
        raise BadArtifact(f"{where}: {name!r} is a link to {member.linkname!r}, which is outside")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(member.linkname)
