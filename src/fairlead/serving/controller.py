"""The ModelService controller: observes pods, takes the planner's next step, and says how it stands."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.api.model_service import GROUP, MODEL_SERVICES, ModelService
from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.engines import EngineSpecError
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.objects import Pod
from fairlead.kube.resources import ObjectKey
from fairlead.serving.plan import Step, compute_step
from fairlead.serving.render import owner_reference, pod_template, pool, replica_pod, template_hash
from fairlead.serving.replicas import Replicas, observe, trouble
from fairlead.serving.status import compute_status

_LOG = logging.getLogger("fairlead.serving")

FIELD_MANAGER = "fairlead-serving"
RETRY_PROBLEM_S = 5.0
REFUSED = (400, 403, 422)
"""Answers that say that the API server will not have a pod as it is: told in the status instead of retried at once."""


def model_service_controller(
    client: Client, informers: Informers, events: EventRecorder, clock: Clock = SYSTEM
) -> Controller:
    """The controller, wired to its services, their pods and their pools."""
    services = ModelServices(client, informers, events, clock)
    controller = Controller("modelservice", services.reconcile, concurrency=4, clock=clock)
    controller.watch(services.services)
    controller.owns(services.replicas.pods, "ModelService", owner_group=GROUP)
    return controller.owns(services.pools, "ModelService", owner_group=GROUP)


class ModelServices:
    """Level-triggered: `reconcile` may be called at any time, any number of times."""

    def __init__(self, client: Client, informers: Informers, events: EventRecorder, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._clock = clock
        self._events = events
        self.services = informers.informer(MODEL_SERVICES)
        self.pools = informers.informer(INFERENCE_POOLS)
        self.replicas = Replicas(client, informers, clock)

    async def reconcile(self, key: ObjectKey) -> Result | None:
        """One step; says when to look again though nothing changes."""
        raw = self.services.store.get_key(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            return None
        service = msgspec.convert(raw, ModelService)
        uid = raw["metadata"]["uid"]
        problem, hashed = "", ""
        try:
            template = pod_template(service)
        except EngineSpecError as error:
            problem = str(error)
        else:
            hashed = template_hash(template)
            await self.replicas.adopt(key.namespace, key.name, owner_reference(service))
            await self._ensure_pool(service)
            pods = self.replicas.of(uid)
            step = compute_step(service.spec.replicas, [observe(p, hashed) for p in pods])
            problem = await self._carry_out(raw, service, template, hashed, step, pods)
        pods = self.replicas.of(uid)
        now = format_time(self._clock.wall_s())
        status = compute_status(service, [observe(p, hashed) for p in pods], problem, trouble(pods), now)
        await self._write_status(raw, status)
        return Result(RETRY_PROBLEM_S) if problem else None

    async def _ensure_pool(self, service: ModelService) -> None:
        wanted = pool(service)
        current = self.pools.store.get(service.metadata["name"], service.metadata["namespace"])
        if current is not None and _contains(current, wanted):
            return
        await self._client.apply(INFERENCE_POOLS, wanted, force=True, field_manager=FIELD_MANAGER)

    async def _carry_out(
        self, raw: Any, service: ModelService, template: Any, hashed: str, step: Step, pods: list[Pod]
    ) -> str:
        """Create and delete; returns why a replica could not be made, or nothing."""
        if step.reason:
            _LOG.info("%s/%s: %s", service.metadata["namespace"], service.metadata["name"], step.reason)
        for pod in pods:
            if pod.metadata.name in step.delete:
                await self.replicas.delete(pod)
                self._events.normal(
                    MODEL_SERVICES, raw, "ReplicaDeleted", f"Deleted {pod.metadata.name}: {step.reason}"
                )
        for _ in range(step.create):
            try:
                made = await self.replicas.create(replica_pod(service, template, hashed))
            except ApiError as error:
                if error.http_code not in REFUSED:
                    raise
                self._events.warning(MODEL_SERVICES, raw, "ReplicaRefused", str(error))
                return str(error)
            self._events.normal(MODEL_SERVICES, raw, "ReplicaCreated", f"Created {made.metadata.name}: {step.reason}")
        return ""

    async def _write_status(self, raw: Any, status: Any) -> None:
        if (raw.get("status") or {}) == status:
            return
        try:
            await self._client.replace(MODEL_SERVICES, {**raw, "status": status}, subresource="status")
        except NotFound:
            return


def _contains(current: Any, wanted: Any) -> bool:
    """Whether everything wanted is there already, so that nothing needs to be written."""
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(k in current and _contains(current[k], v) for k, v in wanted.items())
    return bool(current == wanted)
