"""The ModelService controller: looks at a service, has its course plotted, and carries it out.

Level-triggered and without a memory of its own: `reconcile` may be called at any time, any number of times, and after a
kill at any point it goes on from what the API says. What it decides (the status: phase, rejected revisions, recoveries)
is written before what it does, so that nothing is done that nobody knows of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.api.model_service import GROUP, MODEL_SERVICES, ModelService, ModelServiceStatus, RoleName
from fairlead.api.traffic_report import TRAFFIC_REPORTS
from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.engines.engine import DEFAULT_PORT
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.errors import NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.objects import Pod
from fairlead.kube.resources import ObjectKey
from fairlead.serving.analysis.memory import EVIDENCE_ANNOTATION
from fairlead.serving.belongings import KINDS, belongings
from fairlead.serving.books import Book, Books, read_reports
from fairlead.serving.course import Course, Look, plot_course
from fairlead.serving.deeds import Deeds, Site
from fairlead.serving.drain import drain_limits
from fairlead.serving.drain.engine_watch import EngineWatch, Target
from fairlead.serving.foreign import follow_foreign, leaders
from fairlead.serving.http_routes import HttpRoutes
from fairlead.serving.model_facts import TIMEOUT_S, Found, ModelsRead, needs_weights
from fairlead.serving.names import (
    ALTERNATIVE_LABEL,
    CANARY_SUFFIX,
    MEMBER_LABEL,
    RESUME_ANNOTATION,
    REVISION_LABEL,
    ROLE_LABEL,
    SERVICE_LABEL,
)
from fairlead.serving.observed import Snapshot
from fairlead.serving.recovery import avoid_nodes, memory_of
from fairlead.serving.render import owner_reference, pool_name, wants_warm_up, warm_up_calls
from fairlead.serving.replicas import Replicas, observe_replicas, trouble_of
from fairlead.serving.resolve import ClusterFacts
from fairlead.serving.resolved import Resolved, Unservable
from fairlead.serving.rollout.blue_green import blue_green_way
from fairlead.serving.rollout.canary import canary_way
from fairlead.serving.runtimes import Runtimes
from fairlead.serving.scales import desired_counts, scale_status, sets_of_roles
from fairlead.serving.status import Problem, RoleSeen, Standing, compute_status
from fairlead.serving.surroundings import Surroundings
from fairlead.serving.upkeep import Upkeep
from fairlead.serving.versions import Versions
from fairlead.serving.warm_up import Cold, WarmUps

_LOG = logging.getLogger("fairlead.serving")

CONCURRENCY = 8
RETRY_PROBLEM_S = 5.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One service at the moment of a look."""

    raw: Json
    service: ModelService
    book: Book
    wanted: Resolved | Unservable
    known: Mapping[str, Resolved]
    counts: Mapping[RoleName, int]
    pods: Sequence[Pod]
    model: Found

    @property
    def is_ours(self) -> bool:
        """Whether Fairlead keeps the pods itself."""
        return self.service.spec.workload == "Replicas"


class ModelServices:
    """Keeps all services. `controller` runs `reconcile`; `watch` is to run beside it."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        events: EventRecorder,
        clock: Clock = SYSTEM,
        facts: ClusterFacts | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._events = events
        self._facts = facts or ClusterFacts()
        self._books = Books()
        self.services = informers.informer(MODEL_SERVICES)
        self.reports = informers.informer(TRAFFIC_REPORTS, indexes={"pool": _pool_of})
        self.runtimes = Runtimes(informers)
        self.versions = Versions(client, informers)
        self.replicas = Replicas(client, informers, clock)
        self.surroundings = Surroundings(informers, clock)
        self.upkeep = Upkeep(client, informers, KINDS, clock)
        self.routes = HttpRoutes(client)
        self._deeds = Deeds(self.replicas, clock)
        self.controller = Controller("modelservice", self.reconcile, concurrency=CONCURRENCY, clock=clock)
        self.watch = EngineWatch(self.controller.enqueue, clock=clock)
        self.warm_ups = WarmUps(client, clock)
        self.models = ModelsRead(self.controller.enqueue, clock, own_paths=self._facts.own_paths)
        self._listen()

    def _listen(self) -> None:
        controller = self.controller
        controller.watch(self.services)
        controller.owns(self.replicas.pods, "ModelService", owner_group=GROUP)
        controller.watch(self.replicas.pods, _service_of_foreign_pod)
        for informer in self.upkeep.informers:
            controller.owns(informer, "ModelService", owner_group=GROUP)
        self.surroundings.listen(controller)
        controller.watch(self.reports, lambda report: _service_of_pool(report))
        controller.watch(self.runtimes.informer, lambda _: [k for k in map(_key, self.services.store)])

    async def reconcile(self, key: ObjectKey) -> Result | None:
        """One look; says when to look again though nothing changes."""
        raw = self.services.store.get_key(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self.watch.forget(key)
            self.warm_ups.forget(key)
            if raw is not None:
                self._books.forget(raw["metadata"]["uid"])
            return None
        seen = await self._see(key, raw)
        if seen.model.is_reading and not seen.pods and needs_weights(seen.wanted):
            # What cannot work is said before a pod is made; the source's answer brings the service back here.
            return Result(TIMEOUT_S)
        now_s = self._clock.wall_s()
        look = self._look(key, seen, now_s)
        course = plot_course(look) if seen.is_ours else follow_foreign(look)
        written = await self._write_status(seen, course, look)
        self._warn(seen)
        again_s = course.again_s
        if isinstance(seen.wanted, Resolved):
            in_use = {course.stable, *(r.revision for r in course.replicas)}
            await self.versions.keep(raw, owner_reference(seen.service), seen.wanted, in_use, seen.service)
        problem, more_s = await self._act(seen, course, now_s)
        if problem != seen.book.refused:
            seen.book.refused = problem
            await self._write_status(replace(seen, raw=written), course, look)
        if seen.is_ours:
            await self._keep_evidence(seen, course, now_s)
            self._follow(key, seen, course)
            self._warm_up(key, seen)
        problem = problem or await self._keep_route(seen, course)
        if problem or isinstance(seen.wanted, Unservable):
            again_s = min(again_s or RETRY_PROBLEM_S, RETRY_PROBLEM_S)
        if more_s is not None:
            again_s = min(again_s if again_s is not None else more_s, more_s)
        return Result(max(0.05, again_s)) if again_s is not None else None

    # Seeing

    async def _see(self, key: ObjectKey, raw: Json) -> _Seen:
        service = msgspec.convert(raw, ModelService)
        book = self._books.of(service.uid)
        runtimes = self.runtimes.all()
        model = self.models.look(key, service)
        facts = self._facts if model.facts is None else replace(self._facts, model=model.facts)
        made_of = (service.generation, self.runtimes.version, facts)
        wanted = book.resolve(service, runtimes, facts, made_of, lambda: self.versions.stored(service.uid))
        owner = owner_reference(service)
        await self.replicas.adopt(key.namespace, key.name, owner)
        await self.versions.adopt(key.namespace, key.name, owner)
        known = self.versions.known(service.uid, book.resolved)
        counts = desired_counts(service, self.upkeep.of("RoleScale", service.uid))
        if service.spec.workload == "Replicas":
            pods = self.replicas.of(service.uid)
        else:
            pods = leaders(self.replicas.labelled(key.namespace, key.name))
        if not pods and needs_weights(wanted):
            wanted = model.refusal(service, wanted) or wanted
        return _Seen(raw, service, book, wanted, known, counts, pods, model)

    def _look(self, key: ObjectKey, seen: _Seen, now_s: float) -> Look:
        service, wanted = seen.service, seen.wanted if isinstance(seen.wanted, Resolved) else None
        snapshot = Snapshot(
            now_s,
            observe_replicas(seen.pods, now_s),
            nodes=self.surroundings.nodes(seen.pods, now_s),
            devices=self.surroundings.devices(seen.pods),
            engines=self.watch.views(key),
        )
        verdict = None
        if wanted is not None and service.spec.rollout.strategy != "Rolling":
            way = (canary_way if service.spec.rollout.strategy == "Canary" else blue_green_way)(service.spec.rollout)
            reports = read_reports(self.reports.store.by_index("pool", f"{key.namespace}/{key.name}"))
            verdict = seen.book.judge(service, way.analysis, wanted, reports, now_s, self._kept_evidence(service))
        ready = sum(r.is_ready and wanted is not None and r.revision == wanted.revision for r in snapshot.replicas)
        return Look(
            service,
            wanted,
            seen.known,
            seen.counts,
            snapshot,
            verdict,
            resumed=(service.metadata.get("annotations") or {}).get(RESUME_ANNOTATION, ""),
            progressed=seen.book.look_at_ready(ready),
        )

    # Doing

    async def _act(self, seen: _Seen, course: Course, now_s: float) -> tuple[str, float | None]:
        """Everything that is to be done. Returns why the API server does not take a pod, or nothing, and in how many
        seconds there is more to do, if there is."""
        if course.reason and course.reason != seen.book.said:
            _LOG.info("%s/%s: %s", seen.service.namespace, seen.service.name, course.reason)
        seen.book.said = course.reason
        owned = belongings(seen.service, course, seen.known, seen.counts)
        avoid = avoid_nodes(memory_of(course.recoveries), now_s)
        site = Site(
            seen.service,
            seen.pods,
            seen.known,
            avoid,
            lambda reason, message: self._events.normal(MODEL_SERVICES, seen.raw, reason, message),
        )
        for record in course.new_recoveries:
            self._events.warning(MODEL_SERVICES, seen.raw, record.cause, f"{record.replica}: {record.message}")
        upkeep = self.upkeep.settle(seen.service.uid, owned) if owned else asyncio.sleep(0)
        refused, more_s = await asyncio.gather(self._deeds.carry_out(site, course.actions), upkeep)
        if refused and refused != seen.book.refused:
            self._events.warning(MODEL_SERVICES, seen.raw, "ReplicaRefused", refused)
        return refused, more_s

    async def _keep_route(self, seen: _Seen, course: Course) -> str:
        """The share of the version on trial, where an HTTPRoute has it. Returns what is wrong with the route."""
        problem = await self.routes.keep(seen.service, course.weight if course.has_trial else None)
        if problem and problem != seen.book.route_problem:
            self._events.warning(MODEL_SERVICES, seen.raw, "RouteNotFollowed", problem)
        seen.book.route_problem = problem
        return problem

    def _kept_evidence(self, service: ModelService) -> str:
        name = pool_name(service.name, "canary")
        pools = self.upkeep.of("InferencePool", service.uid)
        annotations = next((p["metadata"].get("annotations") for p in pools if p["metadata"]["name"] == name), None)
        return str((annotations or {}).get(EVIDENCE_ANNOTATION, ""))

    async def _keep_evidence(self, seen: _Seen, course: Course, now_s: float) -> None:
        """What was seen of the version on trial, for a controller that starts in the middle of it."""
        service = seen.service
        text = seen.book.evidence_to_keep(course.rollout.started_at, now_s) if course.has_trial else ""
        if not text:
            return
        change = {"metadata": {"annotations": {EVIDENCE_ANNOTATION: text}}}
        with contextlib.suppress(NotFound):
            await self._client.patch(INFERENCE_POOLS, pool_name(service.name, "canary"), change, service.namespace)

    def _follow(self, key: ObjectKey, seen: _Seen, course: Course) -> None:
        """Whose metrics are looked at."""
        resolved = seen.wanted if isinstance(seen.wanted, Resolved) else seen.known.get(course.stable)
        if resolved is None:
            return
        spec = seen.service.spec
        replicas = {r.name: r for r in course.replicas}
        targets = {}
        for pod in seen.pods:
            meta = pod.metadata
            if meta.labels.get(MEMBER_LABEL, "0") != "0" or meta.is_deleting or not pod.status.pod_ip:
                continue
            replica = replicas.get(meta.name)
            if replica is None or not replica.alive:
                continue
            limits = drain_limits(
                spec.drain, float(spec.termination_grace_period_seconds), resolved.engine, replica.role
            )
            settled_s = None if replica.draining_s is None else replica.draining_s + limits.settle_s
            targets[meta.uid] = Target(
                pod.status.pod_ip, DEFAULT_PORT, resolved.engine, settled_s, limits.holds_kv,
                float(spec.recovery.hang_seconds),
            )  # fmt: skip
        self.watch.follow(key, targets)

    def _warm_up(self, key: ObjectKey, seen: _Seen) -> None:
        """Whose engines have come up and wait for their first requests."""
        warm_up = seen.service.spec.warm_up
        cold = []
        for pod in seen.pods:
            labels = pod.metadata.labels
            resolved = seen.known.get(labels.get(REVISION_LABEL, ""))
            role: Any = labels.get(ROLE_LABEL, "unified")
            if wants_warm_up(pod) and pod.status.pod_ip and resolved is not None and role in resolved.roles:
                calls = warm_up_calls(seen.service, resolved, role, labels.get(ALTERNATIVE_LABEL, ""))
                cold.append(Cold(pod, calls, float(warm_up.timeout_seconds), bool(warm_up.prompts)))
        self.warm_ups.follow(
            key, cold, lambda message: self._events.warning(MODEL_SERVICES, seen.raw, "WarmUpFailed", message)
        )

    # Telling

    async def _write_status(self, seen: _Seen, course: Course, look: Look) -> Json:
        """Write what is seen and decided, where it differs; returns the object as it is then."""
        service = seen.service
        problem = None
        if isinstance(seen.wanted, Unservable):
            problem = Problem("Unservable", str(seen.wanted))
        elif seen.book.refused:
            problem = Problem("CannotCreateReplicas", seen.book.refused)
        each = sets_of_roles(service)
        roles = [
            RoleSeen(role, count, each[role], [r for r in course.replicas if r.role == role])
            for role, count in seen.counts.items()
        ]
        standing = Standing(
            service,
            roles,
            runtime=seen.wanted.runtime.metadata["name"]
            if isinstance(seen.wanted, Resolved)
            else service.status.runtime,
            revision=course.stable,
            update_revision=course.wanted,
            rejected_revision=course.rejected,
            rollout=course.rollout,
            problem=problem,
            trouble=trouble_of(course.replicas),
            hold=course.hold,
            recoveries=course.recoveries,
            model=seen.model.status(service.status.model),
            warnings=seen.wanted.warnings if isinstance(seen.wanted, Resolved) else (),
        )
        status = compute_status(standing, format_time(look.snapshot.now_s))
        raw = seen.raw
        if msgspec.convert(status, ModelServiceStatus) != service.status:
            # As structs: the API server fills in defaults, and what is there already is not to be written again.
            try:
                raw = await self._client.replace(MODEL_SERVICES, {**raw, "status": status}, subresource="status")
            except NotFound:
                return raw
        await self._write_scales(service, roles)
        return raw

    def _warn(self, seen: _Seen) -> None:
        """What speaks against the template, once: the status remembers what was told."""
        for warning in seen.wanted.warnings if isinstance(seen.wanted, Resolved) else ():
            if warning not in seen.service.status.warnings:
                self._events.warning(MODEL_SERVICES, seen.raw, "TemplateWarning", warning)

    async def _write_scales(self, service: ModelService, roles: Sequence[RoleSeen]) -> None:
        by_role = {role.name: role for role in roles}
        for scale in self.upkeep.of("RoleScale", service.uid):
            role = by_role.get(scale["spec"].get("role"))
            if role is None:
                continue
            status = scale_status(service, role, scale["metadata"].get("generation", 1))
            if (scale.get("status") or {}) != status:
                await self.upkeep.write_status("RoleScale", {**scale, "status": status})


def _runtime_of(seen: _Seen) -> str:
    if isinstance(seen.wanted, Resolved):
        return str(seen.wanted.runtime.metadata["name"])
    return seen.service.status.runtime


def _key(raw: Json) -> ObjectKey:
    return ObjectKey(raw["metadata"]["namespace"], raw["metadata"]["name"])


def _service_of_foreign_pod(pod: Pod) -> Sequence[ObjectKey]:
    """Of a pod that some other workload keeps for a service."""
    service, owner = pod.metadata.labels.get(SERVICE_LABEL), pod.metadata.controller
    if not service or owner is None or owner.kind == "ModelService":
        return []
    return [ObjectKey(pod.metadata.namespace, service)]


def _pool_of(report: Json) -> Sequence[str]:
    """The service whose pools a report is about: its stable one, or that of its canary."""
    return [f"{report['metadata']['namespace']}/{str(report.get('pool', '')).removesuffix(CANARY_SUFFIX)}"]


def _service_of_pool(report: Json) -> Sequence[ObjectKey]:
    return [ObjectKey(*name.split("/", 1)) for name in _pool_of(report)]
