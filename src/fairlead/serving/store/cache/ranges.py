"""Which parts of a model's files have arrived: a log beside them, by which a fetch that was killed goes on."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PART_BYTES = 64 << 20
_SEPARATOR = "\t"


class Ranges:
    """The log at `path`. Lines that were cut short are ignored, as their parts are not known to be whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, list[tuple[int, int]]] = {}
        self._verified: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text(errors="replace").splitlines(keepends=True):
                self._take_in(line)

    def missing(self, name: str, size: int, part_bytes: int = PART_BYTES) -> list[tuple[int, int]]:
        """Parts of the file that have not arrived, of `part_bytes` at most, in order."""
        gaps, position = [], 0
        for start, end in [*sorted(self._parts.get(name, ())), (size, size)]:
            begin = position
            while begin < min(start, size):
                stop = min(begin + part_bytes, start, size)
                gaps.append((begin, stop))
                begin = stop
            position = max(position, end)
        return gaps

    def has_any(self, name: str) -> bool:
        return bool(self._parts.get(name))

    def sha256(self, name: str) -> str:
        """Of a file that was seen to be whole and is on the disk; empty for others."""
        return self._verified.get(name, "")

    def add(self, name: str, start: int, end: int) -> None:
        """Raises OSError."""
        self._append(f"{start}{_SEPARATOR}{end}{_SEPARATOR}{name}\n")

    def add_verified(self, name: str, sha256: str) -> None:
        """Raises OSError."""
        self._append(f"={_SEPARATOR}{sha256}{_SEPARATOR}{name}\n")

    def forget(self, name: str) -> None:
        """Nothing of the file counts any more. Raises OSError."""
        self._append(f"-{_SEPARATOR}-{_SEPARATOR}{name}\n")

    def _append(self, line: str) -> None:
        # One write to a file opened for appending: a killed process leaves a whole line or the beginning of one.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        self._take_in(line)

    def _take_in(self, line: str) -> None:
        first, _, rest = line.partition(_SEPARATOR)
        second, separator, name = rest.partition(_SEPARATOR)
        if not separator or not name.endswith("\n"):
            return
        name = name[:-1]
        if first == "-":
            self._parts.pop(name, None)
            self._verified.pop(name, None)
        elif first == "=":
            self._verified[name] = second
        elif first.isdecimal() and second.isdecimal():
            self._parts.setdefault(name, []).append((int(first), int(second)))
