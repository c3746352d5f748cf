"""`file:///path`, plain paths and mounted claims: a model that is on a file system already."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from fairlead.serving.store.sources.errors import Changed, Denied, NotThere, SourceError, Unreachable, Unsafe
from fairlead.serving.store.sources.listing import MAX_FILES, Listing, SourceFile

_READ_BYTES = 4 << 20


class Local:
    """A file, or a folder with everything below it. Links count as what they lead to, inside the folder alone."""

    def __init__(self, path: str, name: str = "") -> None:
        self._path = Path(path)
        self._name = name or f"file://{self._path}"

    @property
    def url(self) -> str:
        return self._name

    async def listing(self) -> Listing:
        try:
            return Listing(await asyncio.to_thread(self._walk))
        except OSError as error:
            raise _explain(error, self.url) from error

    async def read(self, file: SourceFile, start: int, end: int | None) -> AsyncIterator[bytes]:
        try:
            descriptor = await asyncio.to_thread(os.open, file.locator, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _explain(error, self.url) from error
        try:
            if _tag(os.fstat(descriptor)) != file.tag:
                raise Changed(f"{file.locator} has changed since it was listed; start again")
            offset, stop = start, file.size if end is None else end
            while stop is None or offset < stop:
                length = _READ_BYTES if stop is None else min(_READ_BYTES, stop - offset)
                data = await asyncio.to_thread(os.pread, descriptor, length, offset)
                if not data:
                    raise Changed(f"{file.locator} ends at {offset} bytes, before what it was listed with")
                offset += len(data)
                yield data
        except OSError as error:
            raise Unreachable(f"{file.locator}: {error}") from error
        finally:
            os.close(descriptor)

    async def close(self) -> None:
        return None

    def _walk(self) -> tuple[SourceFile, ...]:
        root = self._path.resolve(strict=True)
        if root.is_file():
            return (_file(self._path.name, root),)
        files: list[SourceFile] = []
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(f for f in folders if not (f.startswith(".") or Path(folder, f).is_symlink()))
            for name in sorted(names):
                path = Path(folder, name)
                target = path.resolve(strict=True)
                if not target.is_relative_to(root) and not _is_blob_of_hub_cache(root, target):
                    raise Unsafe(f"{path} leads out of the model's folder, to {target}")
                if target.is_file():
                    files.append(_file(path.relative_to(root).as_posix(), target))
            if len(files) > MAX_FILES:
                raise NotThere(f"{self.url} has more than {MAX_FILES} files: name the folder of one model")
        if not files:
            raise NotThere(f"{self.url} has no files")
        return tuple(files)


def _is_blob_of_hub_cache(root: Path, target: Path) -> bool:
    """The hub's own cache has `snapshots/COMMIT/name` lead to `blobs/…` two floors up."""
    return root.parent.name == "snapshots" and target.is_relative_to(root.parent.parent / "blobs")


def _file(name: str, path: Path) -> SourceFile:
    found = path.stat()
    return SourceFile(name, found.st_size, tag=_tag(found), locator=str(path))


def _tag(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else "no file"


def _explain(error: OSError, what: str) -> SourceError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotThere(f"{what}: there is no {error.filename or 'such path'} on this machine")
    if isinstance(error, PermissionError):
        return Denied(f"{what}: {error.strerror}: {error.filename}")
    return Unreachable(f"{what}: {error}")
