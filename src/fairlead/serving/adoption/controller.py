"""The controller of foreign workloads. It works namespace by namespace: who has which pool is decided among all of it.

Level-triggered: pools and rules are compared with what labels ask for, and what nobody asks for any more is deleted.
Of a workload nothing is written but one annotation that says what has become of it, and that goes with the label.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller
from fairlead.kube.errors import ApiError, Conflict, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Handler, Informers
from fairlead.kube.resources import ObjectKey, Resource, key_of
from fairlead.kube.transport import Unreachable
from fairlead.serving.adoption.decide import Verdict, decide
from fairlead.serving.adoption.objects import OUR_ANNOTATIONS, is_as_wanted, pool_object, rewrite_object, word
from fairlead.serving.adoption.workloads import WORKLOADS, workload_of
from fairlead.serving.belongings import REWRITES
from fairlead.serving.names import ADOPT_LABEL, ADOPTED_LABEL, ADOPTION_ANNOTATION

Json = dict[str, Any]

FIELD_MANAGER: Final = "fairlead-adoption"
_LOG = logging.getLogger("fairlead.serving")


class Adoption:
    """Keeps the pools of foreign workloads. `controller` runs `reconcile`; `sweep` is to run beside it, once."""

    def __init__(self, client: Client, informers: Informers, events: EventRecorder) -> None:
        self._client = client
        self._events = events
        self._pools = informers.informer(INFERENCE_POOLS)
        self._rewrites = informers.informer(REWRITES, label_selector=ADOPTED_LABEL)
        self._workloads = {
            kind: informers.informer(resource, label_selector=ADOPT_LABEL) for kind, resource in WORKLOADS.items()
        }
        self._left: dict[tuple[str, ObjectKey], str] = {}  # kind and key of a workload without the label -> its uid
        self.controller = Controller("adoption", self.reconcile)
        for kind, informer in self._workloads.items():
            informer.add_handler(Handler(delete=lambda raw, kind=kind: self._leave(kind, raw)))  # type: ignore[misc]
            self.controller.watch(informer, _namespace, when=lambda old, new: _gist(old) != _gist(new))
        self.controller.watch(self._pools, self._concerned, when=_differ)
        self.controller.watch(self._rewrites, _namespace, when=_differ)

    async def reconcile(self, key: ObjectKey) -> None:
        """One look at a namespace. Raises ApiError."""
        namespace = key.name
        raws = {
            (kind, key_of(raw)): raw
            for kind, informer in self._workloads.items()
            for raw in informer.store
            if raw["metadata"].get("namespace", "") == namespace
        }
        seen = [w for (kind, _), raw in raws.items() if (w := workload_of(kind, raw)) is not None]
        decision = decide(seen, self._pools.store)
        pools = [pool_object(pool) for pool in decision.pools]
        rules = [rule for pool in decision.pools if (rule := rewrite_object(pool)) is not None]
        for pool in pools:
            if not is_as_wanted(self._pools.store.get_key(key_of(pool)), pool):
                await self._client.apply(INFERENCE_POOLS, pool, force=True, field_manager=FIELD_MANAGER)
        for rule in rules:
            await self._keep_rule(rule)
        # A name that moves to another pool is served all the time, as the new one is there before the old one goes.
        await self._delete_others(REWRITES, self._rewrites.store, namespace, rules)
        await self._delete_others(INFERENCE_POOLS, self._pools.store, namespace, pools)
        said = set()
        for verdict in decision.verdicts:
            place = (verdict.workload.kind, ObjectKey(namespace, verdict.workload.name))
            said.add(place)
            await self._tell(verdict, raws[place])
        await self._forget([place for place in raws if place not in said], namespace)

    async def sweep(self) -> None:
        """Take the annotation off workloads that lost their label while no controller ran. Pods are not looked through:
        there are too many of them for what is but a word."""
        for kind, resource in WORKLOADS.items():
            if kind == "Pod":
                continue
            try:
                async for page in self._client.pages(resource, label_selector=f"!{ADOPT_LABEL}"):
                    for raw in page.items:
                        self._leave(kind, raw)
            except (ApiError, Unreachable, TimeoutError) as error:
                _LOG.info("%s are not looked through for what adoption left behind: %s", resource, error)

    async def _keep_rule(self, rule: Json) -> None:
        meta = rule["metadata"]
        current = self._rewrites.store.get_key(key_of(rule))
        if is_as_wanted(current, rule):
            return
        if current is None:
            try:
                found = await self._client.get(REWRITES, meta["name"], meta["namespace"])
                if ADOPTED_LABEL not in (found["metadata"].get("labels") or {}):
                    _LOG.warning("inferencemodelrewrite %s/%s is somebody else's", meta["namespace"], meta["name"])
                    return
            except NotFound:
                pass
        await self._client.apply(REWRITES, rule, force=True, field_manager=FIELD_MANAGER)

    async def _delete_others(
        self, resource: Resource[Any], store: Iterable[Json], namespace: str, kept: Iterable[Json]
    ) -> None:
        names = {obj["metadata"]["name"] for obj in kept}
        for obj in store:
            meta = obj["metadata"]
            if meta.get("namespace", "") != namespace or meta["name"] in names:
                continue
            if ADOPTED_LABEL not in (meta.get("labels") or {}) or "deletionTimestamp" in meta:
                continue
            try:
                await self._client.delete(resource, meta["name"], namespace, uid=meta["uid"])
            except (NotFound, Conflict):
                continue

    async def _tell(self, verdict: Verdict, raw: Json) -> None:
        """The annotation, and an Event where it says something new."""
        text = word(verdict)
        if (raw["metadata"].get("annotations") or {}).get(ADOPTION_ANNOTATION) == text:
            return
        resource = WORKLOADS[verdict.workload.kind]
        tell = self._events.normal if verdict.reason == "Adopted" else self._events.warning
        if await self._annotate(resource, raw, text):
            tell(resource, raw, verdict.reason, verdict.message)

    async def _forget(self, unasked: Iterable[tuple[str, ObjectKey]], namespace: str) -> None:
        """Take the annotation off those that are not to be adopted any more."""
        for kind, key in unasked:
            raw = self._workloads[kind].store.get_key(key)
            if raw is not None and ADOPTION_ANNOTATION in (raw["metadata"].get("annotations") or {}):
                await self._annotate(WORKLOADS[kind], raw, None)
        for kind, key in [place for place in self._left if place[1].namespace == namespace]:
            uid = self._left[kind, key]
            if self._workloads[kind].store.get_key(key) is None:
                raw = {"metadata": {"name": key.name, "namespace": key.namespace, "uid": uid}}
                if await self._annotate(WORKLOADS[kind], raw, None):
                    message = f"label {ADOPT_LABEL} is gone: what was made for it is taken away"
                    self._events.normal(WORKLOADS[kind], raw, "Released", message)
            self._left.pop((kind, key), None)

    async def _annotate(self, resource: Resource[Any], raw: Json, text: str | None) -> bool:
        """Whether it is still there to be written on."""
        meta = raw["metadata"]
        change = {"metadata": {"uid": meta["uid"], "annotations": {ADOPTION_ANNOTATION: text}}}
        try:
            await self._client.patch(
                resource, meta["name"], change, meta.get("namespace"), field_manager=FIELD_MANAGER
            )  # fmt: skip
        except (NotFound, Conflict):
            return False
        return True

    def _leave(self, kind: str, raw: Json) -> None:
        if ADOPTION_ANNOTATION in (raw["metadata"].get("annotations") or {}):
            self._left[kind, key_of(raw)] = raw["metadata"]["uid"]
            self.controller.enqueue(ObjectKey("", raw["metadata"].get("namespace", "")))

    def _concerned(self, pool: Json) -> list[ObjectKey]:
        """Namespaces that a pool matters to: its own, and, as it may have a model's name, all with adopted ones."""
        meta = pool["metadata"]
        own = {meta.get("namespace", "")} if ADOPTED_LABEL in (meta.get("labels") or {}) else set()
        there = {raw["metadata"].get("namespace", "") for i in self._workloads.values() for raw in i.store}
        return [ObjectKey("", namespace) for namespace in own | there]


def _namespace(raw: Json) -> list[ObjectKey]:
    return [ObjectKey("", raw["metadata"].get("namespace", ""))]


def _gist(raw: Json) -> object:
    """What decides of a workload: not its status, which changes with each of its pods."""
    meta = raw["metadata"]
    fields = ("labels", "annotations", "generation", "deletionTimestamp", "ownerReferences")
    return [*(meta.get(field) for field in fields), (raw.get("status") or {}).get("phase") in ("Succeeded", "Failed")]


def _differ(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """In what adoption writes, or in the names of models."""
    return _written(old) != _written(new)


def _written(obj: Mapping[str, Any]) -> object:
    meta = obj["metadata"]
    said = meta.get("annotations") or {}
    fields = [meta.get(key) for key in ("labels", "ownerReferences", "deletionTimestamp")]
    return [obj.get("spec"), *fields, *(said.get(key) for key in OUR_ANNOTATIONS)]
