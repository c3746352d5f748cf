"""Files of a source onto the disk: ranges side by side, each file verified when its last part is there."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.serving.store.cache.ranges import PART_BYTES, Ranges
from fairlead.serving.store.cache.record import CachedFile
from fairlead.serving.store.sources.checksums import file_checksums
from fairlead.serving.store.sources.errors import Damaged
from fairlead.serving.store.sources.listing import Source, SourceFile

CONCURRENCY = 8
_WRITE_BYTES = 4 << 20
_ATTEMPTS = 2
"""Of a file whose bytes are not what the source says: once more from the beginning, then the source is not believed."""


@dataclass(slots=True)
class Progress:
    """How far a fetch is. `total_bytes` None: nobody knows. `phase` is for people."""

    total_bytes: int | None = None
    done_bytes: int = 0
    phase: str = "asking"
    names: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _State:
    file: SourceFile
    left: int
    attempt: int = 1


class Download:
    """One run over `files` into `folder`. `grow` is told how many bytes a file takes so far whose size nobody knew."""

    def __init__(
        self,
        source: Source,
        files: Sequence[SourceFile],
        folder: Path,
        ranges: Ranges,
        progress: Progress,
        *,
        grow: Callable[[str, int], Awaitable[None]],
        concurrency: int = CONCURRENCY,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._source, self._files, self._folder, self._ranges = source, files, folder, ranges
        self._progress, self._grow, self._concurrency, self._part_bytes = progress, grow, concurrency, part_bytes
        self._parts: deque[tuple[_State, int, int | None]] = deque()
        self._found: dict[str, CachedFile] = {}

    async def run(self) -> list[CachedFile]:
        """All files, whole and synced. Raises SourceError, OSError."""
        for file in self._files:
            await self._queue(_State(file, 0))
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        try:
            # The first error ends all: what is written by then is not written again.
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [self._found[file.name] for file in self._files]

    async def _queue(self, state: _State) -> None:
        """Adds what is missing of a file to the work; one that is whole is verified at once."""
        file, path = state.file, self._folder / state.file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        known = self._ranges.sha256(file.name)
        if file.size is None:
            self._ranges.forget(file.name)
            parts: list[tuple[int, int | None]] = [(0, None)]
        else:
            parts = list(self._ranges.missing(file.name, file.size, self._part_bytes))
            self._progress.done_bytes += file.size - sum(end - start for start, end in parts if end is not None)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, file.size or 0)
        finally:
            os.close(descriptor)
        if not parts and known and file.size is not None:
            self._found[file.name] = CachedFile(file.name, file.size, known)
            return
        # A file without a byte has no part to come, but has to be verified all the same.
        parts = parts or [(0, 0)]
        state.left = len(parts)
        self._parts.extend((state, start, end) for start, end in parts)

    async def _work(self) -> None:
        while self._parts:
            state, start, end = self._parts.popleft()
            stop = await self._fetch(state.file, start, end) if end is None or end > start else start
            state.left -= 1
            if state.left == 0:
                await self._finish(state, stop if state.file.size is None else state.file.size)

    async def _fetch(self, file: SourceFile, start: int, end: int | None) -> int:
        """One part onto the disk; where it ends. What has arrived of a part that breaks off counts too."""
        path, written = self._folder / file.name, start
        pending: list[bytes] = []
        waiting = 0
        try:
            async for data in self._source.read(file, start, end):
                pending.append(data)
                waiting += len(data)
                if waiting >= _WRITE_BYTES:
                    if end is None:
                        await self._grow(file.name, written + waiting)
                    await asyncio.to_thread(_write_all, path, pending, written)
                    written += waiting
                    self._progress.done_bytes += waiting
                    pending, waiting = [], 0
            if end is None:
                await self._grow(file.name, written + waiting)
            await asyncio.to_thread(_write_all, path, pending, written)
            written += waiting
            self._progress.done_bytes += waiting
        finally:
            if written > start and file.size is not None:
                self._ranges.add(file.name, start, written)
        return written

    async def _finish(self, state: _State, size: int) -> None:
        """Verifies a file whose parts are all there, and has it on the disk."""
        file, path = state.file, self._folder / state.file.name
        self._progress.names[file.name] = size
        sha256, found = await asyncio.to_thread(_verify, path, file)
        expected = file.checksum
        if expected is None or found == expected.value:
            self._ranges.add_verified(file.name, sha256)
            self._found[file.name] = CachedFile(file.name, size, sha256)
            return
        if state.attempt >= _ATTEMPTS:
            raise Damaged(
                f"{self._source.url} {file.name}: the source promises {expected.algorithm} {expected.value} and sends "
                f"{found}, twice: nothing of it is used"
            )
        self._ranges.forget(file.name)
        self._progress.done_bytes -= size
        await self._queue(_State(file, 0, state.attempt + 1))


def _write_all(path: Path, parts: Sequence[bytes], offset: int) -> None:
    # Opened here, as this may outlive a task that is cancelled.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                count = os.pwrite(descriptor, view, offset)
                offset += count
                view = view[count:]
    finally:
        os.close(descriptor)


def _verify(path: Path, file: SourceFile) -> tuple[str, str]:
    """SHA-256 and the checksum that the source names, of a file that is on the disk then."""
    checksums = file_checksums(path, file.checksum)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        os.fchmod(descriptor, 0o644)
    finally:
        os.close(descriptor)
    return checksums
