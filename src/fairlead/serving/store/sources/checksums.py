"""Checksums of files on disk, all that are wanted in one pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fairlead.serving.store.sources.listing import Checksum

_READ_BYTES = 4 << 20


class _Running(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def value(self) -> str: ...


def file_checksums(
    path: Path, expected: Checksum | None, seen: Callable[[int], None] = lambda _: None
) -> tuple[str, str]:
    """SHA-256 of a file, and its checksum by the algorithm of `expected` (empty without one). Raises OSError.

    `seen` is told of bytes as they are read. Runs long for large files: call it in a thread.
    """
    main = _Hash("sha256")
    other: _Running | None = None
    if expected is not None and expected.algorithm != "sha256":
        other = _running(expected, path.stat().st_size)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        buffer = memoryview(bytearray(_READ_BYTES))
        while count := os.readv(descriptor, [buffer]):
            main.update(buffer[:count])
            if other is not None:
                other.update(buffer[:count])
            seen(count)
    finally:
        os.close(descriptor)
    sha256 = main.value()
    if expected is None:
        return sha256, ""
    return sha256, sha256 if other is None else other.value()


def _running(expected: Checksum, size: int) -> _Running:
    if expected.algorithm == "git-sha1":
        # A git blob's id is over "blob SIZE\0" and the content.
        return _Hash("sha1", f"blob {size}\0".encode())
    if expected.algorithm == "s3-multipart":
        return _Multipart(expected.part_bytes)
    if expected.algorithm == "crc32c":
        return _Crc32c()
    return _Hash(expected.algorithm)


class _Hash:
    def __init__(self, name: str, head: bytes = b"") -> None:
        self._hash = hashlib.new(name, head, usedforsecurity=False)

    def update(self, data: memoryview, /) -> None:
        self._hash.update(data)

    def value(self) -> str:
        return self._hash.hexdigest()


class _Multipart:
    """S3's ETag of an object that was uploaded in parts: MD5 of the parts' MD5s, and their number."""

    def __init__(self, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._digests: list[bytes] = []
        self._part, self._left = hashlib.md5(usedforsecurity=False), part_bytes

    def update(self, data: memoryview, /) -> None:
        while len(data):
            taken = data[: self._left]
            self._part.update(taken)
            self._left -= len(taken)
            data = data[len(taken) :]
            if not self._left:
                self._end_part()

    def value(self) -> str:
        if self._left < self._part_bytes or not self._digests:
            self._end_part()
        whole = hashlib.md5(b"".join(self._digests), usedforsecurity=False).hexdigest()
        return f"{whole}-{len(self._digests)}"

    def _end_part(self) -> None:
        self._digests.append(self._part.digest())
        self._part, self._left = hashlib.md5(usedforsecurity=False), self._part_bytes


class _Crc32c:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        # Few need it, and it brings numpy.
        from fairlead.serving.store.sources.crc32c import crc32c

        self._value = crc32c(data, self._value)

    def value(self) -> str:
        return f"{self._value:08x}"
