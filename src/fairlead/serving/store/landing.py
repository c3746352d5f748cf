"""A layer on its way into a file: fetched in segments by several threads, hashed in order, verified at the end.

Whoever fetches the segment that the hash has come to hashes it while it is in the processor's cache; segments that
arrive early are hashed from the file (the page cache) when their turn comes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from fairlead.kube.backoff import Backoff
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import Crawling, NoSpace, StoreError, Unreachable, WrongContent
from fairlead.serving.store.oci import Descriptor
from fairlead.serving.store.repository import BUFFER_BYTES, Cancel, Repository

SEGMENT_BYTES = 32 << 20
_SYNC_EVERY_BYTES = 64 << 20

_buffers = threading.local()


def buffer() -> memoryview:
    """This thread's buffer of BUFFER_BYTES."""
    view: memoryview | None = getattr(_buffers, "view", None)
    if view is None:
        view = _buffers.view = memoryview(bytearray(BUFFER_BYTES))
    return view


class OpenFile:
    """A file that several layers land in. Opened with the first write, synced as it grows, closed with the last one."""

    def __init__(self, path: Path, size: int, durable: bool) -> None:
        self.path, self.size = path, size
        self._durable = durable
        self._descriptor: int | None = None
        self._unsynced = 0
        self._lock = threading.Lock()

    def descriptor(self) -> int:
        with self._lock:
            if self._descriptor is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                if os.fstat(self._descriptor).st_size != self.size:
                    os.ftruncate(self._descriptor, self.size)
            return self._descriptor

    def write(self, view: memoryview, offset: int) -> None:
        """Write all of `view`. Raises NoSpace when the disk is full."""
        descriptor = self.descriptor()
        try:
            while view:
                count = os.pwrite(descriptor, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(
                    f"{self.path}: the disk is full; what is there stays, and is not fetched again"
                ) from error
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error

    def settle(self, size: int) -> None:
        """Note bytes written; now and then they are brought to the disk, while other threads fetch on."""
        if not self._durable:
            return
        with self._lock:
            self._unsynced += size
            due = self._unsynced >= _SYNC_EVERY_BYTES
            if due:
                self._unsynced = 0
        if due:
            os.fdatasync(self.descriptor())

    def close(self, mode: int) -> None:
        """Close the file with its permissions set, and on the disk if it is to be durable."""
        descriptor = self.descriptor()
        with self._lock:
            os.fchmod(descriptor, mode)
            if self._durable:
                os.fsync(descriptor)
            os.close(descriptor)
            self._descriptor = None

    def abandon(self) -> None:
        """Close without more ado."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


class Landing:
    """One layer, at `offset` of a file. `resumed`: ranges that an earlier process fetched; only digests are trusted."""

    def __init__(
        self, layer: Descriptor, file: OpenFile, offset: int, resumed: set[tuple[int, int]], number: int
    ) -> None:
        self.layer, self.file, self.offset, self.number = layer, file, offset, number
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._hashing = False
        self._complete = False
        self._there: dict[int, int] = dict(resumed)
        self.resumed = bool(resumed)
        self._lock = threading.Lock()

    def segments(self) -> list[tuple[int, int]]:
        """Ranges to fetch; a layer that is only a little longer than a segment is not split."""
        size = self.layer.size
        ends = list(range(SEGMENT_BYTES, size - SEGMENT_BYTES // 2, SEGMENT_BYTES)) + [size]
        return [(start, end) for start, end in zip([0, *ends], ends, strict=False) if self._there.get(start) != end]

    def there_bytes(self) -> int:
        """How much of the layer is in the file."""
        return sum(end - start for start, end in self._there.items())

    def claim(self, start: int) -> bool:
        """Whether this thread may hash from `start` on while it fetches."""
        with self._lock:
            if self._hashing or start != self._hashed:
                return False
            self._hashing = True
            return True

    def take(self, view: memoryview, at: int, hashing: bool) -> None:
        """Bytes that arrived for layer offset `at`."""
        if hashing:
            self._hash.update(view)
        self.file.write(view, self.offset + at)

    def finish(self, start: int, end: int, hashing: bool) -> bool:
        """A segment is there. Hash on as far as one can; whether the layer is now complete and what it should be.

        Raises WrongContent if it is complete and something else.
        """
        self.file.settle(end - start)
        with self._lock:
            self._there[start] = end
            if hashing:
                self._hashed, self._hashing = end, False
        return self.hash_on()

    def hash_on(self) -> bool:
        """Hash what is in the file and next in turn; whether that completes the layer."""
        while True:
            with self._lock:
                end = self._there.get(self._hashed)
                if self._hashing:
                    return False
                if end is None or self._hashed >= self.layer.size:
                    break
                self._hashing, start = True, self._hashed
            self._hash_file(start, end)
            with self._lock:
                self._hashed, self._hashing = end, False
        with self._lock:
            # Only one thread is told that the layer is complete.
            if self._hashed < self.layer.size or self._complete:
                return False
            self._complete = True
        if (found := f"sha256:{self._hash.hexdigest()}") != self.layer.digest:
            raise WrongContent(f"{self.file.path.name}: layer {self.layer.digest} turned out to be {found}")
        return True

    def forget(self) -> None:
        """Begin anew, as if nothing had been fetched."""
        self._hash, self._hashed, self._hashing = hashlib.sha256(), 0, False
        self._there, self.resumed, self._complete = {}, False, False

    def _hash_file(self, start: int, end: int) -> None:
        descriptor, room = self.file.descriptor(), buffer()
        at = start
        while at < end:
            count = os.preadv(descriptor, [room[: min(len(room), end - at)]], self.offset + at)
            if count == 0:
                raise StoreError(f"{self.file.path}: became shorter while it was written")
            self._hash.update(room[:count])
            at += count


def fetch(
    repository: Repository,
    layer: Descriptor,
    start: int,
    end: int,
    take: Callable[[memoryview, int], None],
    settings: Settings,
    cancel: Cancel,
) -> None:
    """Bytes [start, end) of a blob into `take(bytes, offset)`, going on by range where a connection breaks off.

    Gives up after the settings' `attempts` in a row without a byte, or below the settings' least speed. Raises
    Unreachable then.
    """
    backoff = Backoff(first_s=settings.first_wait_s, max_s=settings.longest_wait_s)
    at, failures = start, 0
    room = buffer()
    while True:
        before = at
        reason, crawled = "the connection broke off", False
        try:
            reader = repository.open_blob(layer, at, end)
            try:
                while at < end and (count := _fill(reader.readinto, room[: min(len(room), end - at)])):
                    cancel.check()
                    take(room[:count], at)
                    at += count
            finally:
                reader.close()
        except Unreachable as error:
            reason, crawled = str(error), isinstance(error, Crawling)
        if at == end:
            return
        failures = failures + 1 if at == before or crawled else 1
        if failures >= settings.attempts:
            raise Unreachable(
                f"{repository.name}: {layer.digest} stops at byte {at} of {layer.size}, "
                f"{failures} times in a row: {reason}"
            )
        cancel.sleep(backoff.delay_s(failures))


def _fill(readinto: Callable[[memoryview], int], room: memoryview) -> int:
    """Fill the buffer as far as the body goes, so that hashing and writing work on large pieces."""
    filled = 0
    while filled < len(room):
        try:
            count = readinto(room[filled:])
        except Unreachable:
            # What came before the break counts; the break itself is met again by the next call.
            if filled:
                return filled
            raise
        if count == 0:
            break
        filled += count
    return filled
