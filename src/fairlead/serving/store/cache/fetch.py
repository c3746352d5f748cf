"""A model from its source into the node's cache, if it is not there already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fairlead.clock import SYSTEM, Clock
from fairlead.serving.store.cache.cache import CacheError, Full, ModelCache, disk_bytes
from fairlead.serving.store.cache.download import Download, Progress
from fairlead.serving.store.cache.incoming import GROWTH_BYTES, Incoming, begin, explain_write
from fairlead.serving.store.cache.places import counted_bytes
from fairlead.serving.store.cache.record import CachedFile, ModelRecord
from fairlead.serving.store.cache.unpack import unpack
from fairlead.serving.store.cache.wanted import Fetched, Wanted
from fairlead.serving.store.sources.errors import BadSource, Changed, NotThere, SourceError, Unreachable
from fairlead.serving.store.sources.listing import Listing, Source
from fairlead.serving.store.sources.open import is_exact, open_source

_ATTEMPTS = 3
"""Times that a source may change under the fetch, or the model leave before it is used."""


async def fetch_model(
    cache: ModelCache,
    wanted: Wanted,
    settings: Mapping[str, str],
    progress: Progress | None = None,
    clock: Clock = SYSTEM,
    open_: Callable[..., Source] = open_source,
) -> Fetched:
    """The model in the cache and in use. A source that means one version for ever is not asked if that is here.

    Where a source cannot be reached, what it meant when it was last asked is taken, with a warning.
    Raises SourceError, CacheError, and for artifacts StoreError.
    """
    progress = progress or Progress()
    try:
        # Whether somebody has signed it, is the registry's to say.
        if (wanted.ask != "always" or is_exact(wanted.url)) and wanted.verification is None:
            found = await asyncio.to_thread(from_cache, cache, wanted)
            if found is not None:
                return found
        if wanted.ask == "never":
            raise NotThere(f"{wanted.called} is not in the cache at {cache.places.root}, and is not to be fetched")
        if wanted.url.startswith(("oci://", "layout://")):
            from fairlead.serving.store.cache.artifact import fetch_artifact

            return await fetch_artifact(cache, wanted, settings, progress, clock)
        if wanted.verification is not None and wanted.verification.mode == "Enforce":
            raise BadSource(
                f"{wanted.called}: only artifacts of registries (oci://) are signed, and a signature is asked"
            )
        source = open_(
            wanted.url,
            settings,
            choice=wanted.choice,
            name=wanted.name,
            patience=wanted.patience,
            clock=clock,
        )
        try:
            return await _fetch_from(source, cache, wanted, progress, clock)
        finally:
            await source.close()
    except OSError as error:
        raise explain_write(error, cache, wanted.called) from error


async def _fetch_from(source: Source, cache: ModelCache, wanted: Wanted, progress: Progress, clock: Clock) -> Fetched:
    last: SourceError | None = None
    for _ in range(_ATTEMPTS):
        try:
            listing = await source.listing()
        except Unreachable as error:
            found = await asyncio.to_thread(from_cache, cache, wanted)
            if found is None:
                raise
            warning = f"{error}. The version of {wanted.called} that is in the cache is taken"
            return Fetched(found.record, found.path, True, (warning,))
        progress.total_bytes, progress.done_bytes = listing.total_bytes, 0
        record = await asyncio.to_thread(cache.whole, listing.digest)
        was_here = record is not None
        try:
            if record is None:
                record = await _bring(source, listing, cache, wanted, progress, clock)
                was_here = record is None
        except Changed as error:
            last = error
            continue
        path = await asyncio.to_thread(
            cache.use,
            listing.digest,
            wanted.called,
            *([listing.exact] if listing.exact else []),
            pin=wanted.pin,
            uid=wanted.uid,
            slot=wanted.slot,
        )
        record = await asyncio.to_thread(cache.whole, listing.digest)
        if path is not None and record is not None:
            return Fetched(record, path, was_here, listing.warnings)
    raise last or CacheError(f"{wanted.called} left the cache before it was used, {_ATTEMPTS} times: it is too small")


async def _bring(
    source: Source, listing: Listing, cache: ModelCache, wanted: Wanted, progress: Progress, clock: Clock
) -> ModelRecord | None:
    """Fetches it; None where another process has done so meanwhile."""
    progress.phase = "waiting"
    incoming = await begin(cache, listing.digest, wanted.called, clock)
    if incoming is None:
        return None
    try:
        progress.phase = "fetching"
        ranges = await asyncio.to_thread(incoming.ranges, listing)
        sizes = {file.name: file.size or 0 for file in listing.files}
        await asyncio.to_thread(_reserve, incoming, _needed(listing))

        async def grow(name: str, size: int) -> None:
            sizes[name] = size
            await asyncio.to_thread(incoming.grow, counted_bytes(list(sizes.values())))

        is_archive = any(file.unpack for file in listing.files)
        folder = incoming.archives if is_archive else incoming.files
        download = Download(source, listing.files, folder, ranges, progress, grow=grow, concurrency=wanted.concurrency)
        files = await download.run()
        if is_archive:
            progress.phase = "unpacking"
            files = await asyncio.to_thread(_unpack, incoming, files)
        progress.phase = "syncing"
        return await asyncio.to_thread(incoming.commit, files, clock.wall_s())
    except OSError:
        # Where the disk is full, a part of a model helps nobody.
        await asyncio.to_thread(incoming.give_up)
        raise
    finally:
        incoming.close()


def _reserve(incoming: Incoming, size: int) -> None:
    try:
        incoming.reserve(size)
    except Full:
        if not disk_bytes(incoming.files):
            incoming.give_up()
        raise


def _unpack(incoming: Incoming, archives: list[CachedFile]) -> list[CachedFile]:
    """The members of the one archive; it takes room beside them until they are there."""
    import shutil

    shutil.rmtree(incoming.files, ignore_errors=True)
    incoming.files.mkdir(parents=True)
    packed = counted_bytes([file.size for file in archives])
    path = incoming.archives / archives[0].name
    files = unpack(path, incoming.files, lambda size: incoming.grow(packed + size))
    path.unlink()
    return files


def _needed(listing: Listing) -> int:
    """Bytes to reserve before the first one comes; more follow for sizes that nobody knows."""
    known = counted_bytes([file.size or 0 for file in listing.files])
    unknown = GROWTH_BYTES if listing.total_bytes is None else 0
    return known + unknown + sum(file.size or 0 for file in listing.files if file.unpack)


def from_cache(cache: ModelCache, wanted: Wanted) -> Fetched | None:
    record = cache.find(wanted.called) or (cache.find(wanted.url) if wanted.name else None)
    if record is None:
        return None
    path = cache.use(record.digest, wanted.called, pin=wanted.pin, uid=wanted.uid, slot=wanted.slot)
    return None if path is None else Fetched(record, path, True)
