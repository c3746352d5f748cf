"""What a place for artifacts can do, be it a repository of a registry or a layout on disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fairlead.serving.store.errors import Stopped
from fairlead.serving.store.oci import Descriptor

BUFFER_BYTES = 1 << 20
"""What is moved at once between a socket, a hash and a file."""


class Source(Protocol):
    """Bytes that are to become a blob; may be read several times, and from several threads."""

    size: int

    def read_at(self, offset: int, into: memoryview) -> int:
        """Fill `into` with what begins at `offset`; how many bytes were there (0 at the end)."""
        ...


class Reader(Protocol):
    """A range of a blob as it arrives."""

    def readinto(self, into: memoryview) -> int:
        """Fill what there is by now; 0 at the end of the range. Raises Unreachable if the peer is silent or gone."""
        ...

    def close(self) -> None: ...


class Repository(Protocol):
    """One repository. Calls block, are safe from several threads, and end within the settings' time limits."""

    @property
    def name(self) -> str:
        """As people write it, without tag."""
        ...

    def manifest(self, selector: str) -> tuple[Descriptor, bytes]:
        """The manifest of a tag or digest, verified against the digest. Raises NotFound."""
        ...

    def put_manifest(self, raw: bytes, media_type: str, tag: str = "") -> Descriptor:
        """Store a manifest under its digest, and under a tag if one is given."""
        ...

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there. Raises WrongContent if something of another size is, and cannot be replaced."""
        ...

    def open_blob(self, descriptor: Descriptor, start: int, end: int) -> Reader:
        """Bytes [start, end) of a blob; not verified here, as a range has no digest of its own."""
        ...

    def put_blob(self, descriptor: Descriptor, source: Source, moved: Callable[[int], None]) -> int:
        """Store a blob; how many bytes had to be sent for it. `moved` is told how much of it is there, as it grows."""
        ...

    def tags(self) -> list[str]: ...

    def delete(self, selector: str) -> None:
        """Remove a tag (where the registry can), or a manifest with all its tags. Blobs go with the registry's GC."""
        ...

    def referrers(self, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """Manifests whose subject is this digest."""
        ...


class FileRange:
    """Part of a file as a source."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self.path, self.offset, self.size = path, offset, size

    def read_at(self, offset: int, into: memoryview) -> int:
        wanted = min(len(into), self.size - offset)
        if wanted <= 0:
            return 0
        # Opened late and for one read: a model has thousands of parts, a process far fewer file descriptors.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.preadv(descriptor, [into[:wanted]], self.offset + offset)
        finally:
            os.close(descriptor)


class InMemory:
    """Bytes as a source."""

    def __init__(self, content: bytes) -> None:
        self.content, self.size = content, len(content)

    def read_at(self, offset: int, into: memoryview) -> int:
        part = self.content[offset : offset + len(into)]
        into[: len(part)] = part
        return len(part)


class Cancel:
    """Says to many threads that the work is over, and wakes those that wait."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._told: list[Callable[[], None]] = []

    def tell(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once cancelled: to break what would wait for a peer."""
        self._told.append(callback)

    def set(self) -> None:
        self._event.set()
        for callback in self._told:
            callback()

    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises Stopped once cancelled."""
        if self._event.is_set():
            raise Stopped("stopped")

    def sleep(self, duration_s: float) -> None:
        """Wait, at most until cancelled. Raises Stopped then."""
        if self._event.wait(duration_s):
            raise Stopped("stopped")
