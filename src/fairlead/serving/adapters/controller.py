"""The controller of ModelAdapters. It works service by service, as the adapters of a service share its engines' slots.

A reconcile observes, decides (`placement`, `rollout`) and writes objects; engines are called beside it (`work`). The
order of what is said keeps requests from engines that cannot answer: a pod says that it has an adapter after the engine
has, and that it has it no more before the engine is told to unload it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.api.inference_pool import ADAPTERS_ASKED_ANNOTATION, INFERENCE_POOLS
from fairlead.api.model_adapter import MODEL_ADAPTERS, ModelAdapter
from fairlead.api.model_service import MODEL_SERVICES, Analysis, ModelService
from fairlead.api.traffic_report import REPORT_ANNOTATION, TRAFFIC_REPORTS, TrafficReport
from fairlead.clock import SYSTEM, Clock, parse_time
from fairlead.engines.engine import DEFAULT_PORT
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.resources import ObjectKey
from fairlead.kube.store import by_label
from fairlead.serving.adapters.adapter_config import BadConfig, misfit, read_config
from fairlead.serving.adapters.checks import FINE, Refusal, refusal, taken_names, undeliverable
from fairlead.serving.adapters.decisions import One, held_back, needs_of, standing_of, version_facts
from fairlead.serving.adapters.delivery import Delivery, local_config
from fairlead.serving.adapters.engine_calls import EngineCalls
from fairlead.serving.adapters.engines_seen import SeenEngine, SeenEngines, engine_of, is_ready, takes_adapters
from fairlead.serving.adapters.placement import Placement, place
from fairlead.serving.adapters.rollout import version_step, way_of
from fairlead.serving.adapters.traffic import Seen, observe, read_asked
from fairlead.serving.adapters.trials import Trials
from fairlead.serving.adapters.versions import AdapterVersion
from fairlead.serving.adapters.work import EngineWork
from fairlead.serving.adapters.writing import Writing
from fairlead.serving.names import SERVICE_LABEL

BUSY_S: Final = 1.0
"""Between two looks while something is on its way."""
IDLE_S: Final = 5.0

Json = dict[str, Any]


def adapter_controller(
    client: Client, informers: Informers, events: EventRecorder, clock: Clock = SYSTEM, delivery: Delivery | None = None
) -> tuple[Controller, AdapterReconciler]:
    """The controller, wired to all that it looks at, and what is to be closed when it has ended."""
    reconciler = AdapterReconciler(client, informers, events, clock, delivery)
    controller = Controller("modeladapter", reconciler.reconcile, concurrency=4, clock=clock)
    reconciler.enqueue = controller.enqueue
    controller.watch(reconciler.adapters, _service_of_adapter)
    controller.watch(reconciler.services, when=_spec_changed)
    controller.watch(reconciler.pods, _service_of_pod)
    controller.watch(reconciler.pools, _service_of_pool)
    return controller, reconciler


class AdapterReconciler:
    """Level-triggered, by ModelService."""

    def __init__(
        self, client: Client, informers: Informers, events: EventRecorder, clock: Clock, delivery: Delivery | None
    ) -> None:
        self._clock = clock
        self.adapters = informers.informer(MODEL_ADAPTERS, indexes={"service": _service_keys})
        self.services = informers.informer(MODEL_SERVICES)
        self.pods = informers.informer(PODS, indexes={"adapter-service": by_label(SERVICE_LABEL)})
        self.pools = informers.informer(INFERENCE_POOLS)
        self.reports = informers.informer(TRAFFIC_REPORTS, indexes={"adapter-pool": _pool_keys})
        self._calls = EngineCalls()
        self._delivery = delivery or Delivery(client)
        self._engines = SeenEngines(self._calls)
        self._work = EngineWork(self._calls, self._delivery, self._changed, clock)
        self._writing = Writing(client, informers, events, clock)
        self._trials = Trials()
        self._traffic: dict[ObjectKey, dict[str, Seen]] = {}
        self._uids: dict[ObjectKey, frozenset[str]] = {}  # service -> pods that were seen
        self.enqueue: Callable[[ObjectKey], None] = lambda key: None

    async def close(self) -> None:
        """Stop what is done beside the reconciles."""
        await self._work.close()
        await self._calls.close()

    async def reconcile(self, key: ObjectKey) -> Result | None:
        """One round over the adapters of a service."""
        raws = list(self.adapters.store.by_index("service", str(key)))
        if not raws and key not in self._uids:
            return None
        ones = [One.of(raw, msgspec.convert(raw, ModelAdapter)) for raw in raws]
        raw_service = self.services.store.get_key(key)
        service = msgspec.convert(raw_service, ModelService) if raw_service is not None else None
        pods = [
            p for p in self.pods.store.by_index("adapter-service", key.name) if p.metadata.namespace == key.namespace
        ]
        engines = await self._look(key, pods)
        self._check(ones, service, pods)
        pool = self.pools.store.get_key(key)
        now_s = self._clock.wall_s()
        reports = self._reports(key)
        asked = _annotations(pool).get(REPORT_ANNOTATION, "")
        for one in ones:
            self._decide(one, engines, reports, asked, now_s)
        traffic = self._observe(key, ones, reports, pool, now_s)
        mono_s = self._clock.monotonic_s()
        slots = service.spec.adapters.slots if service is not None and service.spec.adapters is not None else 0
        placement = place(needs_of(ones, traffic, now_s), [e.as_slots(slots, mono_s) for e in engines])
        # Before requests are led to what was loaded since the last round, pods say that they have it.
        told = {e.name: e.serving for e in engines}
        await asyncio.gather(*(self._writing.say(e) for e in engines))
        await self._writing.lead(key, pool, ones)
        self._act(key, ones, engines, placement, service)
        # What is loaded from here on is said in the next round: the status is never ahead of the pods.
        standings = [standing_of(one, engines, placement) for one in ones]
        await asyncio.gather(*(self._writing.say(e) for e in engines if e.serving != told[e.name]))
        await asyncio.gather(*(self._writing.tell(o, s, engines) for o, s in zip(ones, standings, strict=True)))
        if not ones and not any(e.loaded for e in engines):
            self._forget(key)
            return None
        return Result(BUSY_S if _is_busy(ones, engines, traffic) else IDLE_S)

    # Observing

    async def _look(self, key: ObjectKey, pods: Sequence[Pod]) -> list[SeenEngine]:
        now_s = self._clock.monotonic_s()
        engines = self._engines.of(pods, DEFAULT_PORT, now_s)
        uids = frozenset(p.metadata.uid for p in pods)
        self._engines.forget_all_but(uids, self._uids.get(key, frozenset()))
        self._uids[key] = uids
        await asyncio.gather(*(self._engines.look(e, now_s) for e in engines if is_ready(e.pod)))
        return engines

    def _check(self, ones: Sequence[One], service: ModelService | None, pods: Iterable[Pod]) -> None:
        taken = taken_names(self.services.store, self.adapters.store)
        runtimes = {e.runtime for p in pods if takes_adapters(p) and (e := engine_of(p)) and e.adapters is None}
        for one in ones:
            one.refusal = refusal(one.adapter, service, sorted(runtimes), taken)
            if one.refusal == FINE and service is not None and not one.is_leaving:
                unfit = self._misfit(one.adapter, one.wanted, service)
                if one.stable is None or one.stable.hash == one.wanted.hash:
                    one.refusal = unfit
                else:
                    one.new_refusal = unfit

    def _misfit(self, adapter: ModelAdapter, version: AdapterVersion, service: ModelService) -> Refusal:
        """Why its own configuration speaks against it, as far as that is known by now."""
        policy = service.spec.adapters
        if policy is not None and (unfit := undeliverable(version, policy)) != FINE:
            return unfit
        content = self._delivery.configs.get(version.source) or local_config(version.source)
        if content is None or policy is None:
            return FINE
        try:
            config = read_config(content)
        except BadConfig as error:
            return "BadConfig", str(error)
        model = service.spec.model
        names = [name for name in (model.name, *model.aliases, model.source) if name]
        return misfit(
            config, base_model=version.base_model, models=names, rank=version.rank, max_rank=policy.max_rank
        )  # fmt: skip

    def _reports(self, key: ObjectKey) -> list[TrafficReport]:
        return [msgspec.convert(raw, TrafficReport) for raw in self.reports.store.by_index("adapter-pool", str(key))]

    def _observe(
        self, key: ObjectKey, ones: Sequence[One], reports: Sequence[TrafficReport], pool: Json | None, now_s: float
    ) -> dict[str, Seen]:
        names = [one.shadow(v) for one in ones if one.is_served for v in one.versions()]
        asked = read_asked(_annotations(pool).get(ADAPTERS_ASKED_ANNOTATION, ""))
        self._traffic[key] = observe(self._traffic.get(key, {}), names, reports, asked, now_s)
        return self._traffic[key]

    # Deciding and acting

    def _decide(
        self, one: One, engines: Sequence[SeenEngine], reports: Sequence[TrafficReport], asked: str, now_s: float
    ) -> None:
        if not one.is_served:
            self._trials.forget(one.key)
            return
        if one.new_refusal != FINE:
            one.step = held_back(one)
            return
        facts, rollout = version_facts(one, engines), one.adapter.spec.rollout
        verdict = None
        status, stable = facts.status, one.stable
        if stable is not None and status is not None and status.started_at and facts.status_version == facts.wanted:
            verdict = self._trials.verdict(
                one.key, one.shadow(stable), one.shadow(one.wanted), reports, asked,
                way_of(rollout).analysis or Analysis(), parse_time(status.started_at), now_s,
            )  # fmt: skip
        one.step = version_step(rollout, facts, verdict, now_s)
        if one.step.stable == one.wanted.hash or one.step.rejected == one.wanted.hash:
            self._trials.forget(one.key)

    def _act(
        self, key: ObjectKey, ones: Sequence[One], engines: Sequence[SeenEngine], placement: Placement,
        service: ModelService | None,
    ) -> None:  # fmt: skip
        by_name = {e.name: e for e in engines}
        versions = {one.shadow(v): v for one in ones if one.is_served for v in one.versions()}
        for engine, name in placement.target:
            self._work.keep(by_name[engine], name)
        for engine, name in placement.loads:
            self._work.load(key, by_name[engine], name, versions[name])
        limit_s = float(service.spec.drain.timeout_seconds) if service is not None else 0.0
        for engine, name in placement.unloads:
            if name in by_name[engine].loaded:
                self._work.retire(key, by_name[engine], name, limit_s)

    def _changed(self, key: ObjectKey) -> None:
        self.enqueue(key)

    def _forget(self, key: ObjectKey) -> None:
        self._engines.forget_all_but(frozenset(), self._uids.pop(key, frozenset()))
        self._traffic.pop(key, None)


def _is_busy(ones: Sequence[One], engines: Sequence[SeenEngine], traffic: Mapping[str, Seen]) -> bool:
    return (
        any(o.is_leaving or (o.step is not None and o.step.stable != o.wanted.hash) for o in ones)
        or any(e.loading or e.retiring or e.failed for e in engines)
        or any(s.in_flight or s.asked_s is not None for s in traffic.values())
    )


def _annotations(obj: Json | None) -> Mapping[str, str]:
    return (obj["metadata"].get("annotations") or {}) if obj is not None else {}


def _service_keys(adapter: Json) -> tuple[str, ...]:
    return tuple(str(key) for key in _service_of_adapter(adapter))


def _service_of_adapter(adapter: Json) -> tuple[ObjectKey, ...]:
    return (ObjectKey(adapter["metadata"]["namespace"], adapter["spec"]["service"]),)


def _service_of_pod(pod: Pod) -> tuple[ObjectKey, ...]:
    service = pod.metadata.labels.get(SERVICE_LABEL)
    return (ObjectKey(pod.metadata.namespace, service),) if service else ()


def _service_of_pool(pool: Json) -> tuple[ObjectKey, ...]:
    meta = pool["metadata"]
    service = (meta.get("labels") or {}).get(SERVICE_LABEL)
    return (ObjectKey(meta["namespace"], service),) if service else ()


def _pool_keys(report: Json) -> tuple[str, ...]:
    return (f"{report['metadata']['namespace']}/{report.get('pool', '')}",)


def _spec_changed(old: Json, new: Json) -> bool:
    return bool(old["metadata"].get("generation") != new["metadata"].get("generation"))
