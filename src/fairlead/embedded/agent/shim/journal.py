"""A container's log file in the CRI format, rotated by size.

Each line is `<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <content>`; `P` marks a part of a line longer than
16 KiB. Rotated files carry the suffixes `.1` (newest) to `.N`. A full disk never blocks the container: lines that
cannot be written are counted, and the count is written once there is room again.
"""

from __future__ import annotations

import os
import time

_LINE_LIMIT_BYTES = 16 * 1024


class Journal:
    def __init__(self, path: str, max_bytes: int, max_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max(1, max_files)
        self._partial: dict[str, bytes] = {}
        self._dropped = 0
        self._file = -1
        self._size = 0
        self._open()

    def write(self, stream: str, data: bytes) -> None:
        """Append output of `stream`; an unfinished last line is kept until it ends or grows too long."""
        stamp = _now()
        *lines, rest = (self._partial.pop(stream, b"") + data).split(b"\n")
        entries: list[bytes] = []
        for line in lines:
            while len(line) > _LINE_LIMIT_BYTES:
                entries.append(_entry(stamp, stream, b"P", line[:_LINE_LIMIT_BYTES]))
                line = line[_LINE_LIMIT_BYTES:]
            entries.append(_entry(stamp, stream, b"F", line))
        while len(rest) >= _LINE_LIMIT_BYTES:
            entries.append(_entry(stamp, stream, b"P", rest[:_LINE_LIMIT_BYTES]))
            rest = rest[_LINE_LIMIT_BYTES:]
        if rest:
            self._partial[stream] = rest
        if entries:
            self._append(entries)

    def close(self) -> None:
        """Write what is left of unfinished lines."""
        stamp = _now()
        rest = [_entry(stamp, stream, b"P", line) for stream, line in self._partial.items()]
        self._partial.clear()
        if rest:
            self._append(rest)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, entries: list[bytes]) -> None:
        try:
            if self._file < 0:
                self._open()
            if self._size >= self._max_bytes:
                self._rotate()
            if self._dropped:
                note = f"fairlead: {self._dropped} lines were dropped because the log could not be written"
                entries = [_entry(_now(), "stderr", b"F", note.encode()), *entries]
            self._write_whole(b"".join(entries))
            self._dropped = 0
        except OSError:
            self._dropped += len(entries)

    def _write_whole(self, content: bytes) -> None:
        written = 0
        try:
            while written < len(content):
                written += os.write(self._file, content[written:])
        except OSError:
            # A line cut in half would hide the next one.
            os.ftruncate(self._file, self._size)
            raise
        self._size += written

    def _open(self) -> None:
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._size = os.fstat(self._file).st_size
        except OSError:
            self._file = -1

    def _rotate(self) -> None:
        for number in range(self._max_files - 1, 0, -1):
            newer = self._path if number == 1 else f"{self._path}.{number - 1}"
            if os.path.exists(newer):
                os.replace(newer, f"{self._path}.{number}")
        if self._max_files == 1:
            os.unlink(self._path)
        os.close(self._file)
        self._file = -1
        self._open()


def _entry(stamp: bytes, stream: str, tag: bytes, line: bytes) -> bytes:
    return b"%s %s %s %s\n" % (stamp, stream.encode(), tag, line)


def _now() -> bytes:
    # The shim stands outside the package's clock: it must start without importing asyncio.
    seconds, nanoseconds = divmod(time.clock_gettime_ns(time.CLOCK_REALTIME), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z".encode()
