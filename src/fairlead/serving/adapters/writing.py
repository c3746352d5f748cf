"""What is written to the API about adapters: rewrites, annotations of pools and pods, histories and statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from fairlead.api.inference_pool import ADAPTER_LABEL, INFERENCE_POOLS
from fairlead.api.model_adapter import MODEL_ADAPTERS, ModelAdapterStatus
from fairlead.clock import Clock, format_time, parse_time
from fairlead.kube.client import Client
from fairlead.kube.errors import Conflict, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import PODS
from fairlead.kube.resources import ObjectKey
from fairlead.kube.store import by_controller_uid
from fairlead.serving.adapters.checks import FINE
from fairlead.serving.adapters.decisions import One
from fairlead.serving.adapters.engines_seen import SeenEngine, is_ready
from fairlead.serving.adapters.objects import REWRITES, pod_annotations, pool_annotations, rewrite
from fairlead.serving.adapters.status import Standing, compute_status
from fairlead.serving.adapters.versions import HISTORY_ANNOTATION, promoted, write_history
from fairlead.serving.upkeep import contains

FIELD_MANAGER: Final = "fairlead-adapters"
FINALIZER: Final = "fairlead.dev/adapter"
"""Keeps a deleted ModelAdapter until no engine has it any more."""
LEAVING_LIMIT_S: Final = 600.0
"""After which a deleted one goes, whatever engines still have: an engine that does not answer holds up nothing."""

Json = dict[str, Any]
_PODS = PODS.as_unstructured()


class Writing:
    """Writes what is not so already."""

    def __init__(self, client: Client, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._events = events
        self._clock = clock
        self._rewrites = informers.informer(
            REWRITES, label_selector=ADAPTER_LABEL, indexes={"controller": by_controller_uid}
        )  # fmt: skip

    async def lead(self, service: ObjectKey, pool: Json | None, ones: Sequence[One]) -> None:
        """Lead requests to the versions: the pool knows their names before a rule sends requests to them."""
        await asyncio.gather(*(self._remember(one) for one in ones))
        if pool is not None:
            names = [one.shadow(v) for one in ones if one.is_served for v in one.versions()]
            asked = [one.step.asked for one in ones if one.is_served and one.step is not None and one.step.asked]
            current = pool["metadata"].get("annotations") or {}
            if change := pool_annotations(current, names, asked):
                await self._annotate(INFERENCE_POOLS, service.name, service.namespace, change)
        await asyncio.gather(*(self._rule(one, service.name if pool is not None else "") for one in ones))

    async def say(self, engine: SeenEngine) -> None:
        """Let the pod say what its engine has."""
        meta = engine.pod.metadata
        if engine.looked_s is None or meta.is_deleting:
            return
        if change := pod_annotations(meta.annotations, engine.serving, engine.starts):
            await self._annotate(_PODS, meta.name, meta.namespace, dict(change))

    async def tell(self, one: One, standing: Standing, engines: Iterable[SeenEngine]) -> None:
        """The status, and the finalizer of one that leaves."""
        if one.is_leaving:
            await self._let_go(one, engines)
            return
        now = format_time(self._clock.wall_s())
        status = compute_status(one.adapter, standing, now)
        # As structs: the API server fills in defaults.
        if msgspec.convert(status, ModelAdapterStatus) == one.adapter.status:
            return
        self._announce(one, standing)
        try:
            await self._client.replace(MODEL_ADAPTERS, {**one.raw, "status": status}, subresource="status")
        except NotFound:
            return

    async def _remember(self, one: One) -> None:
        """Before anything is loaded: what its versions are, and that it has to be unloaded in the end."""
        if not one.is_served or one.step is None:
            return
        meta = one.raw["metadata"]
        history = one.history
        if not history or history[0].hash != one.serving.hash:
            history = promoted(history, one.serving)
        change: Json = {}
        if history != one.history:
            change["annotations"] = {HISTORY_ANNOTATION: write_history(history)}
        finalizers = meta.get("finalizers") or []
        if FINALIZER not in finalizers:
            change["finalizers"] = [*finalizers, FINALIZER]
        if change:
            change["resourceVersion"] = meta["resourceVersion"]
            one.raw = await self._client.patch(MODEL_ADAPTERS, meta["name"], {"metadata": change}, meta["namespace"])
            one.history = history

    async def _rule(self, one: One, pool: str) -> None:
        uid = one.raw["metadata"]["uid"]
        there = list(self._rewrites.store.by_index("controller", uid))
        if not one.is_served or not pool:
            for obj in there:
                await self._delete(obj)
            return
        wanted = rewrite(one.adapter, pool, one.served_name, one.targets())
        if not any(contains(obj, wanted) for obj in there):
            await self._client.apply(REWRITES, wanted, force=True, field_manager=FIELD_MANAGER)

    async def _delete(self, obj: Json) -> None:
        meta = obj["metadata"]
        try:
            await self._client.delete(REWRITES, meta["name"], meta["namespace"], uid=meta["uid"])
        except (NotFound, Conflict):
            return

    async def _let_go(self, one: One, engines: Iterable[SeenEngine]) -> None:
        meta = one.raw["metadata"]
        finalizers = meta.get("finalizers") or []
        if FINALIZER not in finalizers:
            return
        names = {one.shadow(v) for v in (one.wanted, *one.history)}
        has = [e.name for e in engines if is_ready(e.pod) and names & {*e.loaded, *e.loading}]
        if has and self._clock.wall_s() - parse_time(meta["deletionTimestamp"]) < LEAVING_LIMIT_S:
            return
        rest = [f for f in finalizers if f != FINALIZER]
        change = {"metadata": {"finalizers": rest or None, "resourceVersion": meta["resourceVersion"]}}
        try:
            await self._client.patch(MODEL_ADAPTERS, meta["name"], change, meta["namespace"])
        except NotFound:
            return

    async def _annotate(self, resource: Any, name: str, namespace: str, change: dict[str, str | None]) -> None:
        try:
            await self._client.patch(
                resource, name, {"metadata": {"annotations": change}}, namespace, field_manager=FIELD_MANAGER
            )  # fmt: skip
        except NotFound:
            return

    def _announce(self, one: One, standing: Standing) -> None:
        before = one.adapter.status
        if standing.refusal != FINE:
            self._events.warning(MODEL_ADAPTERS, one.raw, standing.refusal[0], standing.refusal[1])
        elif standing.stable != before.version:
            self._events.normal(MODEL_ADAPTERS, one.raw, "Serves", f"version {standing.stable} serves")
        elif standing.rejected and standing.rejected != before.rejected_version:
            self._events.warning(MODEL_ADAPTERS, one.raw, "Reverted", standing.rollout.message)
