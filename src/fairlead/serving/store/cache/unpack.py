"""Archives of models: what may be in them, and onto the disk.

Only plain files and folders inside the archive's own folder are taken: links, devices and names that lead out are
refused. One folder that holds everything is left out of the names.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from fairlead.serving.store.cache.record import CachedFile
from fairlead.serving.store.sources.errors import Damaged, NotThere, Unsafe
from fairlead.serving.store.sources.listing import MAX_FILES, check_name

_COPY_BYTES = 4 << 20


def unpack(archive: Path, folder: Path, grow: Callable[[int], None]) -> list[CachedFile]:
    """The files of a tar archive (plain, gzip or zstd), synced. `grow` is told how many bytes they take so far.

    Raises Unsafe, Damaged, NotThere, OSError, and what `grow` raises.
    """
    found: dict[str, CachedFile] = {}
    total = 0
    try:
        with _open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
            for member in members:
                name = member.name.removeprefix("./").rstrip("/")
                if member.isdir():
                    continue
                check_name(name, archive.name)
                if not member.isreg():
                    raise Unsafe(f"{archive.name} has {name!r}, which is no plain file: links and devices are refused")
                if name in found or len(found) >= MAX_FILES:
                    raise Unsafe(f"{archive.name} has {name!r} twice, or more than {MAX_FILES} files")
                total += member.size
                grow(total)
                content = members.extractfile(member)
                assert content is not None
                found[name] = _write(content, folder, name, member.size, archive.name)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise Damaged(f"{archive.name} is no whole tar archive: {error}") from error
    if not found:
        raise NotThere(f"{archive.name} has no files")
    return _without_top(folder, list(found.values()))


def _open(archive: Path) -> IO[bytes]:
    name = archive.name.lower()
    if name.endswith((".gz", ".tgz")):
        return cast(IO[bytes], gzip.open(archive, "rb"))
    if name.endswith(".zst"):
        # Few archives need it, and it is slow to load.
        import pyarrow

        return cast(IO[bytes], pyarrow.CompressedInputStream(pyarrow.OSFile(str(archive)), "zstd"))
    return open(archive, "rb")


def _write(content: IO[bytes], folder: Path, name: str, size: int, where: str) -> CachedFile:
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "xb")  # noqa: SIM115
    except (FileExistsError, NotADirectoryError) as error:
        raise Unsafe(f"{where} has {name!r} as a file and as a folder") from error
    digest, written = hashlib.sha256(), 0
    with file:
        while data := content.read(_COPY_BYTES):
            digest.update(data)
            file.write(data)
            written += len(data)
        file.flush()
        os.fsync(file.fileno())
    if written != size:
        raise Damaged(f"{where} ends inside {name!r}")
    return CachedFile(name, size, digest.hexdigest())


def _without_top(folder: Path, files: list[CachedFile]) -> list[CachedFile]:
    tops = {file.name.partition("/")[0] for file in files}
    if len(tops) != 1 or any("/" not in file.name for file in files):
        return files
    top = folder / tops.pop()
    aside = folder.with_name(f"{folder.name}.top")
    os.rename(top, aside)
    folder.rmdir()
    os.rename(aside, folder)
    return [CachedFile(f.name.partition("/")[2], f.size, f.sha256) for f in files]
