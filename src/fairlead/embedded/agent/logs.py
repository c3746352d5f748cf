"""Read a container's log files for `pods/log`: tail, since, follow, timestamps, byte limit, one stream or both.

Files are in the CRI format of `shim.journal`, rotated ones included, so a tail may span a rotation.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from fairlead.clock import SYSTEM, Clock, parse_time

_BLOCK_BYTES = 1 << 16
_FOLLOW_INTERVAL_S = 0.1
_STAMP_LENGTH = len("2006-01-02T15:04:05.000000000Z")


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`core/v1` PodLogOptions. None means no limit; `since_wall_s` is seconds since the epoch."""

    follow: bool = False
    tail_lines: int | None = None
    since_wall_s: float | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str | None = None


async def read_log(
    path: Path, options: LogOptions, is_running: Callable[[], bool], clock: Clock = SYSTEM
) -> AsyncIterator[bytes]:
    """Yield the log's content in pieces. With `follow`, until the container is over and its log is read."""
    left = options.limit_bytes
    async for entries in _blocks(path, options, is_running, clock):
        out = render(entries, options)
        if not out:
            continue
        if left is not None:
            out = out[:left]
            left -= len(out)
        yield out
        if left == 0:
            return


def render(entries: bytes, options: LogOptions) -> bytes:
    """Whole CRI entries as the content that a reader asked for."""
    parts: list[bytes] = []
    wanted = None if options.stream is None else options.stream.encode()
    at_line_start = True
    # Not splitlines: a carriage return is part of the content.
    for entry in entries.removesuffix(b"\n").split(b"\n"):
        stamp, stream, tag, content = _split(entry)
        if wanted is not None and stream != wanted:
            continue
        if options.since_wall_s is not None and _wall_s(stamp) < options.since_wall_s:
            continue
        if options.timestamps and at_line_start:
            parts.append(stamp + b" ")
        parts.append(content)
        at_line_start = tag == b"F"
        if at_line_start:
            parts.append(b"\n")
    return b"".join(parts)


async def tail(path: Path, lines: int, limit_bytes: int) -> str:
    """The last lines of a log as text, at most `limit_bytes` of them (for termination messages)."""
    pieces = [piece async for piece in read_log(path, LogOptions(tail_lines=lines), lambda: False)]
    return b"".join(pieces)[-limit_bytes:].decode(errors="replace")


def log_files(path: Path) -> list[Path]:
    """Rotated files and the current one, oldest first."""
    rotated = [p for p in path.parent.glob(f"{path.name}.*") if p.suffix[1:].isdigit()]
    rotated.sort(key=lambda p: int(p.suffix[1:]), reverse=True)
    return [*rotated, *([path] if path.exists() else [])]


async def _blocks(
    path: Path, options: LogOptions, is_running: Callable[[], bool], clock: Clock
) -> AsyncIterator[bytes]:
    files = await asyncio.to_thread(log_files, path)
    start = (0, 0)
    if options.tail_lines is not None:
        start = await asyncio.to_thread(_tail_start, files, options.tail_lines)
    reader = None
    for number, file in enumerate(files[start[0] :]):
        if reader is not None:
            reader.close()
        reader = _Reader(file, start[1] if number == 0 else 0)
        while block := await asyncio.to_thread(reader.read):
            yield block
    if not options.follow:
        if reader is not None:
            reader.close()
        return
    reader = reader or _Reader(path, 0)
    try:
        async for block in _follow(path, reader, is_running, clock):
            yield block
    finally:
        reader.close()


async def _follow(path: Path, reader: _Reader, is_running: Callable[[], bool], clock: Clock) -> AsyncIterator[bytes]:
    while True:
        # Asked before reading: what a container wrote last is there once it is over.
        running = is_running()
        block = reader.read()
        if block:
            yield block
            continue
        if reader.move_on(path):
            continue
        if not running:
            return
        await clock.sleep(_FOLLOW_INTERVAL_S)


class _Reader:
    """Reads whole entries from one log file, and knows how to go on after a rotation."""

    def __init__(self, path: Path, offset: int) -> None:
        self._descriptor = -1
        self._offset = offset
        self._open(path)

    def read(self) -> bytes:
        if self._descriptor < 0:
            return b""
        block = os.pread(self._descriptor, _BLOCK_BYTES, self._offset)
        whole = block[: block.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole

    def move_on(self, path: Path) -> bool:
        """Open the file that follows the one read so far; False while there is none."""
        if self._descriptor < 0:
            return self._open(path)
        own = os.fstat(self._descriptor)
        following: Path | None = None
        for file in reversed(log_files(path)):
            try:
                other = os.stat(file)
            except FileNotFoundError:
                return False
            if (other.st_dev, other.st_ino) == (own.st_dev, own.st_ino):
                break
            following = file
        if following is None:
            return False
        self.close()
        self._offset = 0
        return self._open(following)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self, path: Path) -> bool:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True


def _tail_start(files: list[Path], lines: int) -> tuple[int, int]:
    """Index of the file and the offset in it where the last `lines` entries begin."""
    if lines <= 0:
        return (len(files) - 1, files[-1].stat().st_size) if files else (0, 0)
    for index in range(len(files) - 1, -1, -1):
        offset, lines = _last_entries(files[index], lines)
        if offset is not None:
            return index, offset
    return 0, 0


def _last_entries(path: Path, lines: int) -> tuple[int | None, int]:
    """Where the file's last `lines` entries begin; None and how many are still wanted if it has fewer."""
    ends = lines + 1
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - _BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin)
            count = block.count(b"\n")
            if count >= ends:
                for _ in range(ends):
                    block = block[: block.rfind(b"\n")]
                return begin + len(block) + 1, 0
            ends -= count
            end = begin
    return (0, 0) if ends == 1 else (None, ends - 1)


def _split(entry: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    stamp, _, rest = entry.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, _, content = rest.partition(b" ")
    return stamp, stream, tag, content


def _wall_s(stamp: bytes) -> float:
    # fromisoformat takes at most microseconds: nine digits are cut to six.
    text = stamp.decode(errors="replace")
    return parse_time(text[:26] + "Z" if len(text) == _STAMP_LENGTH else text)
