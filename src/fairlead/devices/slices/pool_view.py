"""What is published of one pool, as this process knows it: the shared watch, and own writes until the watch has them.

A plan made from a watch that lags behind would undo or repeat what was just written. So answers to writes count until
the watch brings the same or something newer. One that never comes (written, then deleted by another while the watch was
broken) is looked up after a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.slices.plan import Pool
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.kinds import RESOURCE_SLICES
from fairlead.kube.objects import ResourceSlice
from fairlead.kube.store import Store

INDEX: Final = "pool"
_DOUBT_AFTER_S: Final = 5.0


def by_pool(s: ResourceSlice) -> Sequence[str]:
    """The index that a pool's slices are found by."""
    return (f"{s.spec.driver}/{s.spec.pool.name}",) if s.spec.pool else ()


@dataclass(frozen=True, slots=True)
class _Own:
    """The answer to a write: the slice, or, where it was deleted, the uid of what is gone."""

    slice: ResourceSlice | None
    uid: str
    at_s: float


class PoolView:
    """The slices of one pool. `store` is the informer's, with the index `INDEX`."""

    def __init__(self, pool: Pool, store: Store[ResourceSlice], *, clock: Clock = SYSTEM) -> None:
        self._pool = pool
        self._store = store
        self._clock = clock
        # Name -> what this process wrote and the watch has not brought yet.
        self._own: dict[str, _Own] = {}

    def slices(self) -> list[ResourceSlice]:
        found = {s.metadata.name: s for s in self._store.by_index(INDEX, str(self._pool))}
        for name, own in list(self._own.items()):
            seen = found.get(name)
            if own.slice is None:
                if seen is not None and seen.metadata.uid == own.uid:
                    del found[name]
                else:
                    del self._own[name]
            elif seen is not None and _is_as_new(seen, own.slice):
                del self._own[name]
            else:
                found[name] = own.slice
        return [found[name] for name in sorted(found)]

    def wrote(self, stored: ResourceSlice) -> None:
        metadata = stored.metadata
        self._own[metadata.name] = _Own(stored, metadata.uid, self._clock.monotonic_s())

    def deleted(self, gone: ResourceSlice) -> None:
        metadata = gone.metadata
        self._own[metadata.name] = _Own(None, metadata.uid, self._clock.monotonic_s())

    @property
    def is_ahead(self) -> bool:
        """Whether the watch has not brought all of this process's writes."""
        self.slices()
        return bool(self._own)

    async def look_up_doubtful(self, client: Client) -> None:
        """Ask the server about writes that the watch has not brought for long."""
        now_s = self._clock.monotonic_s()
        self.slices()
        for name, own in list(self._own.items()):
            if own.slice is not None and now_s - own.at_s >= _DOUBT_AFTER_S:
                await self.look_up(client, name)

    async def look_up(self, client: Client, name: str) -> ResourceSlice | None:
        """Ask the server for one slice, whatever pool it belongs to now. Raises ApiError, Unreachable."""
        try:
            live = await client.get(RESOURCE_SLICES, name)
        except NotFound:
            seen = self._store.get(name)
            self._own.pop(name, None)
            if seen is not None:
                self.deleted(seen)
            return None
        if by_pool(live) == (str(self._pool),):
            self.wrote(live)
        return live


def _is_as_new(seen: ResourceSlice, own: ResourceSlice) -> bool:
    versions = seen.metadata.resource_version, own.metadata.resource_version
    if not all(version.isdecimal() for version in versions):
        return seen.metadata.uid == own.metadata.uid
    return int(versions[0]) >= int(versions[1])
