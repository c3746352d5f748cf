"""OCI artifacts into the node's cache: the store's pull, in the room and under the lock that the cache gives it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from fairlead.clock import Clock
from fairlead.serving.store import errors
from fairlead.serving.store.artifacts import in_thread, open_repository, pull_artifact
from fairlead.serving.store.cache.cache import CacheError, Full, ModelCache
from fairlead.serving.store.cache.download import Progress
from fairlead.serving.store.cache.fetch import from_cache
from fairlead.serving.store.cache.incoming import Incoming, begin
from fairlead.serving.store.cache.places import counted_bytes
from fairlead.serving.store.cache.record import CachedFile, ModelRecord
from fairlead.serving.store.cache.wanted import Fetched, Wanted
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.logins import Logins, default_logins, secret_logins
from fairlead.serving.store.pack import MARK
from fairlead.serving.store.plan import Plan, plan
from fairlead.serving.store.policy import Policy
from fairlead.serving.store.pull import resolve
from fairlead.serving.store.references import Reference, parse_reference
from fairlead.serving.store.repository import Cancel
from fairlead.serving.store.sources.checksums import file_checksums

_VERIFIED = "verified"
_REUSED = 4
"""Models of the cache, the latest used, whose bytes a new version is looked up in."""


async def fetch_artifact(
    cache: ModelCache, wanted: Wanted, settings: Mapping[str, str], progress: Progress, clock: Clock
) -> Fetched:
    """As `fetch.fetch_model`. Raises StoreError, CacheError, OSError."""
    reference = parse_reference(wanted.url)
    registry = wanted.registry or Settings(logins=logins_of(settings), clock=clock)
    try:
        digest, planned, warning = await in_thread(lambda cancel: _look(reference, registry, wanted, cancel))
    except errors.Unreachable as error:
        found = await asyncio.to_thread(from_cache, cache, wanted)
        if found is None or not _was_verified(cache, found.record, wanted.verification):
            raise
        why = f"{error}. The version of {wanted.called} that is in the cache is taken"
        return Fetched(found.record, found.path, True, (why,))
    record = await asyncio.to_thread(cache.whole, digest)
    was_here = record is not None
    if record is None:
        incoming = await begin(cache, digest, wanted.called, clock)
        if incoming is not None:
            try:
                await _bring(incoming, reference.at(digest=digest), planned, wanted, registry, progress, clock)
            finally:
                incoming.close()
    exact = str(reference.at(digest=digest)) if reference.folder is None else ""
    path = await asyncio.to_thread(
        cache.use, digest, wanted.called, *filter(None, [exact]), pin=wanted.pin, uid=wanted.uid, slot=wanted.slot
    )
    record = await asyncio.to_thread(cache.whole, digest)
    if path is None or record is None:
        raise CacheError(f"{wanted.called} left the cache before it was used: it is too small")
    if wanted.verification is not None and not warning:
        (cache.places.entry(digest) / _VERIFIED).write_text(_fingerprint(wanted.verification))
    return Fetched(record, path, was_here, (warning,) if warning else ())


def _look(reference: Reference, registry: Settings, wanted: Wanted, cancel: Cancel) -> tuple[str, Plan, str]:
    """Digest, what it will be on disk, and what there is to say of its signatures."""
    with closing(open_repository(reference, registry, cancel)) as repository:
        digest, manifest = resolve(repository, reference.selector)
        warning = ""
        if wanted.verification is not None:
            from fairlead.serving.store.sign import enforce

            warning = enforce(repository, digest, wanted.verification)
        return digest, plan(manifest, f"{repository.name}@{digest}"), warning


async def _bring(
    incoming: Incoming,
    reference: Reference,
    planned: Plan,
    wanted: Wanted,
    registry: Settings,
    progress: Progress,
    clock: Clock,
) -> None:
    incoming.content.mkdir(parents=True, exist_ok=True)
    packed = sum(archive.layer.size for archive in planned.archives)
    # Weights hardly shrink, but nobody says what is in an archive: the pull itself looks whether the disk has room.
    expected = [*(file.size for file in planned.files), *(2 * a.layer.size for a in planned.archives if a.compression)]
    await asyncio.to_thread(incoming.reserve, counted_bytes(expected) + packed)
    progress.phase = "fetching"
    others = [incoming.cache.places.entry(c.record.digest) / "files" for c in incoming.cache.models()[:_REUSED]]
    watched = _Watched(progress)
    try:
        pulled = await pull_artifact(
            str(reference),
            incoming.files,
            progress=watched,
            concurrency=wanted.concurrency,
            settings=registry,
            reuse=others,
            replace_target=True,
        )
    except errors.NoSpace as error:
        await asyncio.to_thread(incoming.give_up)
        raise Full(f"no room for {wanted.called}: {error}") from error
    progress.phase = "syncing"
    files = await asyncio.to_thread(_files, incoming.files, pulled.files, planned)
    incoming.grow(counted_bytes([file.size for file in files]))
    await asyncio.to_thread(incoming.commit, files, clock.wall_s())


def _files(folder: Path, names: Sequence[str], planned: Plan) -> list[CachedFile]:
    """What came, with SHA-256: a file of one layer has the layer's."""
    known = {file.path: file.pieces[0].layer.digest for file in planned.files if len(file.pieces) == 1}
    found = []
    for name in names:
        if name == MARK:
            continue
        digest = known.get(name, "")
        sha256 = digest.removeprefix("sha256:") if digest else file_checksums(folder / name, None)[0]
        found.append(CachedFile(name, (folder / name).stat().st_size, sha256))
    return found


def logins_of(settings: Mapping[str, str]) -> Logins:
    """Of a mounted pull secret, else as Docker keeps them on this machine."""
    found = {name: settings[name].encode() for name in (".dockerconfigjson", "config.json") if settings.get(name)}
    return secret_logins(found) if found else default_logins()


def _was_verified(cache: ModelCache, record: ModelRecord, policy: Policy | None) -> bool:
    if policy is None or policy.mode == "Warn":
        return True
    try:
        return (cache.places.entry(record.digest) / _VERIFIED).read_text() == _fingerprint(policy)
    except OSError:
        return False


def _fingerprint(policy: Policy) -> str:
    return hashlib.sha256("\n".join(sorted(policy.public_keys)).encode()).hexdigest()


class _Watched:
    """The pull's progress as that of a fetch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, what: str, total_bytes: int) -> None:
        self._progress.total_bytes, self._progress.done_bytes = total_bytes, 0

    def advance(self, size: int) -> None:
        self._progress.done_bytes += size

    def note(self, text: str) -> None:
        return
