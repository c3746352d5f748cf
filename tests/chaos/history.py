"""Every write to a server, in the order in which they were made: what invariants "at all times" are checked on.

A watch of each kind, cluster-wide; the versions of the embedded server are of one sequence over all kinds, so that the
events of all watches merge into the true order.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.kube.client import Client
from fairlead.kube.resources import Resource

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Write:
    """One event. `obj` is the state after it; of a deletion, the last one."""

    version: int
    type: str
    kind: str
    obj: Json

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])


class History:
    """Follows kinds from now on. An async context manager."""

    def __init__(self, client: Client, resources: Iterable[Resource[Any]]) -> None:
        self._client = client
        self._resources = [r.as_unstructured() for r in resources]
        self.kinds = frozenset(r.kind for r in self._resources)
        self._writes: dict[str, list[Write]] = {}
        self._now: dict[tuple[str, str], dict[str, Json]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.changed: dict[str, asyncio.Event] = {}
        self.listeners: dict[str, Callable[[Write], None]] = {}
        """Namespace -> called with each of its writes, as it is seen."""

    async def __aenter__(self) -> History:
        begun = [asyncio.Event() for _ in self._resources]
        for resource, event in zip(self._resources, begun, strict=True):
            self._tasks.append(asyncio.create_task(self._follow(resource, event)))
        await asyncio.wait_for(asyncio.gather(*(e.wait() for e in begun)), 30)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def now(self, namespace: str, kind: str) -> list[Json]:
        """The objects of a kind, as far as they have been seen."""
        return list(self._now.get((namespace, kind), {}).values())

    def writes(self, namespace: str, after: int = 0) -> Sequence[Write]:
        """All that was seen of a namespace, in order."""
        return [w for w in self._writes.get(namespace, ()) if w.version > after]

    def last(self, namespace: str) -> int:
        found = self._writes.get(namespace)
        return found[-1].version if found else 0

    async def _follow(self, resource: Resource[Any], begun: asyncio.Event) -> None:
        version = (await self._client.list(resource)).metadata.resource_version
        begun.set()
        async for event in self._client.watch(resource, resource_version=version, bookmarks=False, timeout_s=3600):
            self._take(resource.kind, event.type, event.object)

    def _take(self, kind: str, type_: str, obj: Json) -> None:
        meta = obj["metadata"]
        namespace = meta.get("namespace", "")
        write = Write(int(meta["resourceVersion"]), type_, kind, obj)
        bisect.insort(self._writes.setdefault(namespace, []), write, key=lambda w: w.version)
        of_kind = self._now.setdefault((namespace, kind), {})
        if type_ == "DELETED":
            of_kind.pop(meta["name"], None)
        else:
            of_kind[meta["name"]] = obj
        if (listener := self.listeners.get(namespace)) is not None:
            listener(write)
        self.changed.setdefault(namespace, asyncio.Event()).set()
