"""The ModelService controller: observes pods, takes the planner's next step, and says how it stands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.api.model_service import GROUP, ModelService
from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.engines import EngineSourceError
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.errors import ApiError, Conflict, NotFound
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.resources import ObjectKey, Resource
from fairlead.kube.store import by_controller_uid
from fairlead.serving.plan import Replica, Step, compute_step
from fairlead.serving.render import HASH_LABEL, pod_template, pool, replica_pod, template_hash
from fairlead.serving.status import compute_status

_LOG = logging.getLogger("fairlead.serving")

MODEL_SERVICES = Resource.of("fairlead.dev/v1alpha1", "modelservices", "ModelService")
INFERENCE_POOLS = Resource.of("inference.networking.k8s.io/v1", "inferencepools", "InferencePool")

FIELD_MANAGER = "fairlead-serving"
RETRY_PROBLEM_S = 5.0
FORGET_CREATED_S = 30.0
"""A created pod that no watch has shown by then was deleted before we could see it."""


def model_service_controller(client: Client, informers: Informers, clock: Clock = SYSTEM) -> Controller:
    """The controller, wired to its services, their pods and their pools."""
    services = ModelServices(client, informers, clock)
    controller = Controller("modelservice", services.reconcile, concurrency=4, clock=clock)
    controller.watch(services.services)
    controller.owns(services.pods, "ModelService", owner_group=GROUP)
    return controller.owns(services.pools, "ModelService", owner_group=GROUP)


class ModelServices:
    """Level-triggered: `reconcile` may be called at any time, any number of times."""

    def __init__(self, client: Client, informers: Informers, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._clock = clock
        self.services = informers.informer(MODEL_SERVICES)
        self.pods = informers.informer(PODS, indexes={"controller": by_controller_uid})
        self.pools = informers.informer(INFERENCE_POOLS)
        # Pods created but perhaps not in the copy yet: uid -> (when, pod). They would be created twice otherwise.
        self._created: dict[str, tuple[float, Pod]] = {}

    async def reconcile(self, key: ObjectKey) -> Result | None:
        """One step; says when to look again though nothing changes."""
        raw = self.services.store.get_key(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            return None
        service = msgspec.convert(raw, ModelService)
        problem, template = "", None
        try:
            template = pod_template(service)
        except EngineSourceError as error:
            problem = str(error)
        pods = self._pods_of(raw["metadata"]["uid"])
        hashed = template_hash(template) if template is not None else ""
        step = Step()
        if template is not None:
            await self._ensure_pool(service)
            step = compute_step(service.spec.replicas, [_observe(p, hashed) for p in pods])
            problem = await self._carry_out(service, template, hashed, step, pods)
        replicas = [_observe(p, hashed) for p in self._pods_of(raw["metadata"]["uid"])]
        status = compute_status(service, replicas, problem, format_time(self._clock.wall_s()))
        await self._write_status(raw, status)
        return Result(RETRY_PROBLEM_S) if problem else None

    def _pods_of(self, uid: str) -> list[Pod]:
        now_s = self._clock.monotonic_s()
        seen = list(self.pods.store.by_index("controller", uid))
        for pod in seen:
            self._created.pop(pod.metadata.uid, None)
        for old in [u for u, (at_s, _) in self._created.items() if now_s - at_s > FORGET_CREATED_S]:
            del self._created[old]
        owned = (p for _, p in self._created.values() if p.metadata.controller and p.metadata.controller.uid == uid)
        return seen + list(owned)

    async def _ensure_pool(self, service: ModelService) -> None:
        wanted = pool(service)
        current = self.pools.store.get(service.metadata["name"], service.metadata["namespace"])
        if current is not None and _contains(current, wanted):
            return
        await self._client.apply(INFERENCE_POOLS, wanted, force=True, field_manager=FIELD_MANAGER)

    async def _carry_out(
        self, service: ModelService, template: Any, hashed: str, step: Step, pods: Sequence[Pod]
    ) -> str:
        """Create and delete; returns why a replica could not be made, or nothing."""
        if step.reason:
            _LOG.info("%s/%s: %s", service.metadata["namespace"], service.metadata["name"], step.reason)
        by_name = {p.metadata.name: p for p in pods}
        for name in step.delete:
            pod = by_name[name]
            try:
                await self._client.delete(PODS, name, pod.metadata.namespace, uid=pod.metadata.uid)
            except (NotFound, Conflict):
                continue
        for _ in range(step.create):
            body = replica_pod(service, template, hashed)
            try:
                # A whole-object resource: the template may have fields that our Pod struct does not declare.
                path = PODS.path(service.metadata["namespace"])
                answer = await self._client.request("POST", path, body=body)
            except ApiError as error:
                if error.http_code in (400, 403, 422):
                    return str(error)
                raise
            made = PODS.decode(answer.body)
            self._created[made.metadata.uid] = (self._clock.monotonic_s(), made)
        return ""

    async def _write_status(self, raw: Any, status: Any) -> None:
        if (raw.get("status") or {}) == status:
            return
        try:
            await self._client.replace(MODEL_SERVICES, {**raw, "status": status}, subresource="status")
        except NotFound:
            return


def _observe(pod: Pod, hashed: str) -> Replica:
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    return Replica(
        name=pod.metadata.name,
        updated=pod.metadata.labels.get(HASH_LABEL) == hashed,
        ready=ready,
        deleting=pod.metadata.is_deleting,
        failed=pod.status.phase in ("Succeeded", "Failed"),
        created_s=pod.metadata.created_s,
    )


def _contains(current: Any, wanted: Any) -> bool:
    """Whether everything wanted is there already, so that nothing needs to be written."""
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(k in current and _contains(current[k], v) for k, v in wanted.items())
    return bool(current == wanted)
