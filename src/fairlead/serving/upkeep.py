"""The objects beside the pods (pools, budgets, claim templates, …): written where they are not as they should be,
deleted where nobody wants them any more. What is there comes from informers; nothing is written without need. All of
them have the label that names their service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.clock import Clock
from fairlead.kube.client import Client
from fairlead.kube.errors import Conflict, NotFound
from fairlead.kube.informer import Informer, Informers
from fairlead.kube.resources import Resource, Unstructured
from fairlead.kube.store import by_controller_uid
from fairlead.serving.names import SERVICE_LABEL

Json = dict[str, Any]

FIELD_MANAGER = "fairlead-serving"
LINGERS: Mapping[str, float] = {"InferencePool": 2.0}
"""Seconds that an object which nobody wants any more stays. Gateways hear of pools and of the rules that lead to them
on watches of their own: one that heard of a pool's end before the rule's would send its requests elsewhere under the
pool's name."""


class Upkeep:
    """Keeps the objects that services own, of the kinds it was made for."""

    def __init__(self, client: Client, informers: Informers, resources: Sequence[Resource[Any]], clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._unwanted: dict[str, dict[str, float]] = {}  # owner -> uid of what lingers -> until when (monotonic)
        self._kinds: dict[str, tuple[Resource[Any], Informer[Any]]] = {}
        for resource in resources:
            whole = resource.as_unstructured()
            found = informers.informer(whole, label_selector=SERVICE_LABEL, indexes={"controller": by_controller_uid})
            self._kinds[resource.kind] = (whole, found)

    @property
    def informers(self) -> Iterable[Informer[Any]]:
        return [informer for _, informer in self._kinds.values()]

    def of(self, kind: str, owner_uid: str) -> list[Unstructured]:
        """The objects of a kind that somebody controls."""
        return list(self._kinds[kind][1].store.by_index("controller", owner_uid))

    async def settle(self, owner_uid: str, wanted: Sequence[Json]) -> float | None:
        """Make what the owner controls equal to `wanted`. Returns in how many seconds there is more to do, if there is.
        Raises ApiError."""
        todo = [obj for obj in wanted if not self._is_there(obj)]
        await asyncio.gather(*(self._apply(obj) for obj in todo))
        now_s, before = self._clock.monotonic_s(), self._unwanted.pop(owner_uid, {})
        gone, until = [], {}
        for resource, obj in self._surplus(owner_uid, wanted):
            uid = obj["metadata"]["uid"]
            until_s = before.get(uid, now_s + LINGERS.get(obj["kind"], 0.0))
            if until_s > now_s:
                until[uid] = until_s
            else:
                gone.append((resource, obj))
        if until:
            self._unwanted[owner_uid] = until
        await asyncio.gather(*(self._delete(resource, obj) for resource, obj in gone))
        return min(until.values()) - now_s if until else None

    async def write_status(self, kind: str, obj: Json) -> None:
        """Write the status of an object that is there; one that is gone or has just changed is left alone."""
        try:
            await self._client.replace(self._kinds[kind][0], obj, subresource="status")
        except (NotFound, Conflict):
            return

    def _is_there(self, obj: Json) -> bool:
        current = self._kinds[obj["kind"]][1].store.get(obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
        return current is not None and contains(current, obj)

    async def _apply(self, obj: Json) -> None:
        await self._client.apply(self._kinds[obj["kind"]][0], obj, force=True, field_manager=FIELD_MANAGER)

    def _surplus(self, owner_uid: str, wanted: Sequence[Json]) -> list[tuple[Resource[Any], Json]]:
        names = {(obj["kind"], obj["metadata"]["name"]) for obj in wanted}
        return [
            (resource, obj)
            for kind, (resource, informer) in self._kinds.items()
            for obj in informer.store.by_index("controller", owner_uid)
            if (kind, obj["metadata"]["name"]) not in names and "deletionTimestamp" not in obj["metadata"]
        ]

    async def _delete(self, resource: Resource[Any], obj: Json) -> None:
        meta = obj["metadata"]
        try:
            await self._client.delete(resource, meta["name"], meta.get("namespace"), uid=meta["uid"])
        except (NotFound, Conflict):
            return


def contains(current: Any, wanted: Any) -> bool:
    """Whether everything wanted is there already, so that nothing needs to be written. Lists are compared by place:
    items may have fields more, as servers fill in defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(current, Mapping) and all(
            contains(current[k], v) if k in current else _is_nothing(v) for k, v in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(current, (list, tuple))
            and len(current) == len(wanted)
            and all(contains(c, w) for c, w in zip(current, wanted, strict=True))
        )
    return bool(current == wanted)


def _is_nothing(value: Any) -> bool:
    """What servers leave out."""
    return value is False or value in (None, "", {}, [])
