"""A model on its way into the cache: its folder, lock and room, until it is committed or given up."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from fairlead.clock import Clock
from fairlead.serving.store.cache import locks
from fairlead.serving.store.cache.cache import CacheError, Full, ModelCache, boot_id, disk_bytes
from fairlead.serving.store.cache.places import counted_bytes
from fairlead.serving.store.cache.ranges import Ranges
from fairlead.serving.store.cache.record import (
    RESERVATION_FILE,
    CachedFile,
    ModelRecord,
    Reservation,
    read,
    sync_folder,
)
from fairlead.serving.store.cache.room import amount
from fairlead.serving.store.sources.listing import Listing

STALL_S = 600.0
"""A fetch of another process that brings nothing for so long is not waited for."""
_LOOK_S = 0.25
GROWTH_BYTES = 1 << 30
"""What is reserved at a time for files whose size nobody knows."""


class Incoming:
    """Made by `begin`, which holds the lock of this digest until `close`."""

    def __init__(self, cache: ModelCache, digest: str, source: str, lock: int) -> None:
        self.cache, self.digest, self.source = cache, digest, source
        self.folder = cache.places.partial(digest)
        self._lock = lock
        self._reserved_bytes = 0

    @property
    def content(self) -> Path:
        return self.folder / "content"

    @property
    def files(self) -> Path:
        return self.content / "files"

    @property
    def archives(self) -> Path:
        """Where archives are until they are unpacked."""
        return self.folder / "archives"

    def ranges(self, listing: Listing) -> Ranges:
        """What is there from an earlier attempt.

        After a stop of the machine only what a checksum will prove counts: the log may know more than the disk.
        """
        before = read(self.folder / RESERVATION_FILE, Reservation)
        ranges = Ranges(self.folder / "ranges")
        if before is None or before.boot != boot_id():
            for file in listing.files:
                if file.checksum is None or not (self.files / file.name).exists():
                    ranges.forget(file.name)
        self.files.mkdir(parents=True, exist_ok=True)
        return ranges

    def reserve(self, size: int) -> None:
        """Room for files of so many bytes. Raises Full."""
        self._reserved_bytes = size
        self.cache.reserve(self.digest, self.source, size)

    def grow(self, size: int) -> None:
        """More room, where files turn out to take `size` bytes. Raises Full."""
        if size > self._reserved_bytes:
            self.reserve(size + GROWTH_BYTES)

    def commit(self, files: Sequence[CachedFile], fetched_s: float) -> ModelRecord:
        """The model is whole. Raises OSError."""
        is_one = len(files) == 1 and "/" not in files[0].name
        record = ModelRecord(
            self.digest,
            self.source,
            sorted(files, key=lambda f: f.name),
            counted_bytes([file.size for file in files]),
            files[0].name if is_one else "",
            fetched_s,
        )
        self._drop_strangers({file.name for file in files})
        for folder, _, _ in os.walk(self.content):
            os.chmod(folder, 0o755)
            sync_folder(Path(folder))
        self.cache.commit(record)
        return record

    def give_up(self) -> None:
        """Nothing of it is worth keeping."""
        with self.cache.changing():
            self.cache.remove(self.folder)

    def close(self) -> None:
        os.close(self._lock)

    def _drop_strangers(self, names: set[str]) -> None:
        """Without files of a former attempt that the model does not have any more."""
        for folder, _, found in os.walk(self.files):
            for name in found:
                path = Path(folder, name)
                if path.relative_to(self.files).as_posix() not in names:
                    path.unlink()


async def begin(cache: ModelCache, digest: str, source: str, clock: Clock) -> Incoming | None:
    """The right to fetch this model; None where another process has brought it meanwhile.

    Waits while another process fetches it, as long as that brings something. Raises CacheError, OSError.
    """
    folder = cache.places.partial(digest)
    seen, changed_s = -1, clock.monotonic_s()
    while True:
        if cache.whole(digest) is not None:
            return None
        try:
            folder.mkdir(exist_ok=True)
            lock = locks.take(folder / "lock", 0)
        except FileNotFoundError:
            # Taken away at this moment, as its fetch was done or given up.
            await clock.sleep(_LOOK_S)
            continue
        except locks.Busy:
            there = await asyncio.to_thread(disk_bytes, folder)
            if there != seen:
                seen, changed_s = there, clock.monotonic_s()
            if clock.monotonic_s() - changed_s > STALL_S:
                raise CacheError(
                    f"another process has been fetching {source} into {cache.places.root} and brought nothing for "
                    f"{STALL_S:.0f} s; end it, then try again"
                ) from None
            await clock.sleep(_LOOK_S)
            continue
        if cache.whole(digest) is None:
            return Incoming(cache, digest, source, lock)
        os.close(lock)
        return None


def explain_write(error: OSError, cache: ModelCache, source: str) -> CacheError:
    """A failed write in terms of the cache."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(cache.places.root).free
        return Full(
            f"the disk of {cache.places.root} filled up while {source} came in ({amount(free)} are free now): others "
            "write to it too. Nothing of the model is kept; make room, or give the cache a disk of its own"
        )
    return CacheError(f"{source} cannot be written to {cache.places.root}: {error}")
