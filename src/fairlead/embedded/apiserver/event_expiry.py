"""Events go an hour after they were last seen, as kube-apiserver's `--event-ttl` lets them; nothing else expires."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from fairlead.clock import parse_time
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import DeleteOptions
from fairlead.embedded.apiserver.registry import Object
from fairlead.kube.errors import ApiError

TTL_S = 3600.0
PERIOD_S = 60.0
AT_ONCE = 500
"""Events removed in one sweep at most, so that a backlog does not hold up other writers."""

_log = logging.getLogger(__name__)


class EventExpiry:
    """Sweeps expired events while its context lasts."""

    def __init__(self, objects: Objects, ttl_s: float = TTL_S) -> None:
        self._objects = objects
        self._ttl_s = ttl_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> EventExpiry:
        self._task = asyncio.create_task(self._run(), name="event expiry")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._objects.clock.sleep(PERIOD_S)
            try:
                await self.sweep()
            except ApiError as error:
                _log.warning("expired events are not removed: %s", error.message)

    async def sweep(self) -> int:
        """Remove what has expired; returns how many events went."""
        type_ = self._objects.catalog.find("", "v1", "events")
        if type_ is None:
            return 0
        oldest_s = self._objects.clock.wall_s() - self._ttl_s
        expired = []
        for record in self._objects.store.snapshot(type_.storage_prefix).records:
            event = self._objects.read(type_, record)
            if last_seen_s(event) < oldest_s:
                expired.append(event["metadata"])
            if len(expired) == AT_ONCE:
                break
        for meta in expired:
            with contextlib.suppress(ApiError):
                write = Write(type_, meta["namespace"], meta["name"], manager="kube-apiserver")
                await self._objects.delete(write, DeleteOptions(uid=meta["uid"]))
        return len(expired)


def last_seen_s(event: Object) -> float:
    """When an event was last written about, in seconds since the epoch."""
    return max(map(parse_time, _times(event)), default=0.0)


def _times(event: dict[str, Any]) -> Iterator[str]:
    for time in (
        event["metadata"].get("creationTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        (event.get("series") or {}).get("lastObservedTime"),
    ):
        if time:
            yield time
