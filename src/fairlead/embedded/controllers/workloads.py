"""The Deployment, ReplicaSet, StatefulSet and Job controllers: decisions carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fairlead.clock import format_time
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, its_controller, itself
from fairlead.embedded.controllers.deployment import compute_deployment
from fairlead.embedded.controllers.hashing import template_hash
from fairlead.embedded.controllers.job import FINALIZER, compute_job
from fairlead.embedded.controllers.pods import Object, controller_of, is_active, owner_reference, pod_from_template
from fairlead.embedded.controllers.recent import Recent
from fairlead.embedded.controllers.replica_set import compute_replica_set, with_failure
from fairlead.embedded.controllers.stateful_set import compute_stateful_set, outdated_revisions
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.resources import ObjectKey, Resource
from fairlead.kube.selectors import from_label_selector

CONCURRENT_WRITES = 16
PARALLEL_START = 1
"""Creations begin one by one and double, so that a template that cannot work is not tried five hundred times."""


class ReplicaSets:
    name = "replicaset"
    watches: Sequence[Watch] = (Watch(a.REPLICA_SETS, itself), Watch(a.PODS, its_controller("ReplicaSet")))

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recent = Recent()

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        replica_set = c.get(a.REPLICA_SETS, key)
        if replica_set is None:
            return None
        await _adopt_orphans(c, replica_set, "ReplicaSet")
        uid = replica_set["metadata"]["uid"]
        now_s = c.clock.wall_s()
        pods = self._recent.overlay(uid, c.controlled_by(a.PODS, uid), now_s)
        step = compute_replica_set(replica_set, pods, now_s)
        failure = await _create_pods(c, a.REPLICA_SETS, replica_set, step.create, self._recent)
        await _delete_pods(
            c, a.REPLICA_SETS, replica_set, [p for p in pods if p["metadata"]["name"] in step.delete], self._recent
        )
        status = with_failure(step.status, "FailedCreate" if failure else "", str(failure or ""), format_time(now_s))
        await c.write_status(a.REPLICA_SETS, replica_set, status)
        if failure is not None:
            raise failure
        return step.recheck_in_s


class Deployments:
    name = "deployment"
    watches: Sequence[Watch] = (Watch(a.DEPLOYMENTS, itself), Watch(a.REPLICA_SETS, its_controller("Deployment")))

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recent = Recent()

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        deployment = c.get(a.DEPLOYMENTS, key)
        if deployment is None:
            return None
        uid = deployment["metadata"]["uid"]
        now_s = c.clock.wall_s()
        sets = self._recent.overlay(uid, c.controlled_by(a.REPLICA_SETS, uid), now_s)
        hashed = template_hash(deployment["spec"]["template"], _collisions(deployment))
        old_alive = sum(
            1
            for rs in sets
            if (rs["metadata"].get("labels") or {}).get("pod-template-hash") != hashed
            for pod in c.controlled_by(a.PODS, rs["metadata"]["uid"])
            if is_active(pod) or "deletionTimestamp" in pod["metadata"]
        )
        step = compute_deployment(deployment, sets, old_alive, now_s)
        if step.create is not None:
            made = await c.create(a.REPLICA_SETS, step.create)
            if made is None and not any(r["metadata"]["name"] == step.create["metadata"]["name"] for r in sets):
                await self._collide(deployment, step.create)
                return 0.1
            if made is not None:
                self._recent.created(made, now_s)
                size = step.create["spec"]["replicas"]
                c.events.normal(a.DEPLOYMENTS, deployment, "ScalingReplicaSet",
                       f"Scaled up replica set {made['metadata']['name']} from 0 to {size}")  # fmt: skip
        for name, patch in step.update.items():
            before = next(int(r["spec"].get("replicas", 0)) for r in sets if r["metadata"]["name"] == name)
            await c.patch(a.REPLICA_SETS, ObjectKey(key.namespace, name), patch)
            self._tell_scaled(deployment, name, before, (patch.get("spec") or {}).get("replicas"))
        for name in step.delete:
            await c.delete(a.REPLICA_SETS, ObjectKey(key.namespace, name))
        if step.annotate is not None:
            patched = await c.patch(a.DEPLOYMENTS, key, step.annotate)
            deployment = patched or deployment
        await c.write_status(a.DEPLOYMENTS, deployment, step.status)
        return step.recheck_in_s

    def _tell_scaled(self, deployment: Object, name: str, before: int, size: int | None) -> None:
        if size is None or size == before:
            return
        way = "up" if size > before else "down"
        self._cluster.events.normal(
            a.DEPLOYMENTS, deployment, "ScalingReplicaSet", f"Scaled {way} replica set {name} from {before} to {size}"
        )

    async def _collide(self, deployment: Object, wanted: Object) -> None:
        # A ReplicaSet of this name exists and is not ours, or not in our copy yet.
        key = ObjectKey(wanted["metadata"]["namespace"], wanted["metadata"]["name"])
        try:
            existing = await self._cluster.client.get(a.REPLICA_SETS, key.name, key.namespace)
        except NotFound:
            return
        owner = controller_of(existing)
        if owner is not None and owner["uid"] == deployment["metadata"]["uid"]:
            self._recent.created(existing, self._cluster.clock.wall_s())
            return
        status = {**(deployment.get("status") or {}), "collisionCount": _collisions(deployment) + 1}
        await self._cluster.write_status(a.DEPLOYMENTS, deployment, status)


class StatefulSets:
    name = "statefulset"
    watches: Sequence[Watch] = (
        Watch(a.STATEFUL_SETS, itself),
        Watch(a.PODS, its_controller("StatefulSet")),
        Watch(a.REVISIONS, its_controller("StatefulSet")),
    )

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recent = Recent()

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        stateful_set = c.get(a.STATEFUL_SETS, key)
        if stateful_set is None:
            return None
        uid = stateful_set["metadata"]["uid"]
        now_s = c.clock.wall_s()
        pods = self._recent.overlay(uid, c.controlled_by(a.PODS, uid), now_s)
        revisions = c.controlled_by(a.REVISIONS, uid)
        step = compute_stateful_set(stateful_set, pods, revisions, now_s)
        if step.create_revision is not None:
            await c.create(a.REVISIONS, step.create_revision)
        for claim in step.claims:
            await c.create(a.CLAIMS, claim)
        for pod in step.create:
            made = await c.create(a.PODS, pod)
            if made is not None:
                self._recent.created(made, now_s)
                message = f"create Pod {made['metadata']['name']} in StatefulSet {key.name} successful"
                c.events.normal(a.STATEFUL_SETS, stateful_set, "SuccessfulCreate", message)
        await _delete_pods(
            c, a.STATEFUL_SETS, stateful_set, [p for p in pods if p["metadata"]["name"] in step.delete], self._recent
        )
        await c.write_status(a.STATEFUL_SETS, stateful_set, step.status)
        for name in outdated_revisions(stateful_set, pods, revisions, step.status):
            await c.delete(a.REVISIONS, ObjectKey(key.namespace, name))
        return step.recheck_in_s


class Jobs:
    name = "job"
    watches: Sequence[Watch] = (Watch(a.JOBS, itself), Watch(a.PODS, its_controller("Job")))

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recent = Recent()

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        job = c.get(a.JOBS, key)
        if job is None:
            return None
        uid = job["metadata"]["uid"]
        now_s = c.clock.wall_s()
        pods = self._recent.overlay(uid, c.controlled_by(a.PODS, uid), now_s)
        if "deletionTimestamp" in job["metadata"]:
            await self._release(key.namespace, pods, [p["metadata"]["name"] for p in pods])
            return None
        step = compute_job(job, pods, now_s)
        if step.delete_job:
            await c.delete(a.JOBS, key, propagation="Foreground")
            return None
        # The status is written before a finalizer goes: what it says is what has been counted.
        await c.write_status(a.JOBS, job, step.status)
        await self._release(key.namespace, pods, step.release)
        for pod in step.create:
            made = await c.create(a.PODS, pod)
            if made is not None:
                self._recent.created(made, now_s)
                c.events.normal(a.JOBS, job, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        await _delete_pods(c, a.JOBS, job, [p for p in pods if p["metadata"]["name"] in step.delete], self._recent)
        return step.recheck_in_s

    async def _release(self, namespace: str, pods: Sequence[Object], names: Sequence[str]) -> None:
        for pod in pods:
            meta = pod["metadata"]
            if meta["name"] not in names or FINALIZER not in (meta.get("finalizers") or ()):
                continue
            kept = [f for f in meta["finalizers"] if f != FINALIZER]
            body = {"metadata": {"finalizers": kept or None, "uid": meta["uid"]}}
            await self._cluster.patch(a.PODS, ObjectKey(namespace, meta["name"]), body)


def _collisions(deployment: Object) -> int:
    return int((deployment.get("status") or {}).get("collisionCount", 0))


async def _adopt_orphans(c: Cluster, owner: Object, kind: str) -> None:
    """Make pods without a controller that match the selector ours."""
    selector = from_label_selector(owner["spec"]["selector"])
    if "deletionTimestamp" in owner["metadata"]:
        return
    for pod in c.in_namespace(a.PODS, owner["metadata"]["namespace"]):
        meta = pod["metadata"]
        if controller_of(pod) is None and is_active(pod) and selector.matches(meta.get("labels") or {}):
            reference = owner_reference(owner, "apps/v1", kind)
            references = [*(meta.get("ownerReferences") or ()), reference]
            body = {"metadata": {"uid": meta["uid"], "ownerReferences": references}}
            await c.patch(a.PODS, ObjectKey(meta["namespace"], meta["name"]), body)


async def _create_pods(
    c: Cluster, resource: Resource[Object], owner: Object, count: int, recent: Recent
) -> ApiError | None:
    """Create pods of the owner's template in growing batches; returns the error that stopped it, or None."""
    template = owner["spec"]["template"]
    made, batch = 0, PARALLEL_START
    while made < count:
        size = min(batch, count - made, CONCURRENT_WRITES)
        reference = owner_reference(owner, resource.api_version, resource.kind)
        pods = [pod_from_template(template, owner, reference) for _ in range(size)]
        results = await asyncio.gather(*(c.create(a.PODS, p) for p in pods), return_exceptions=True)
        for result in results:
            if isinstance(result, dict):
                recent.created(result, c.clock.wall_s())
                c.events.normal(resource, owner, "SuccessfulCreate", f"Created pod: {result['metadata']['name']}")
        for result in results:
            if isinstance(result, ApiError):
                c.events.warning(resource, owner, "FailedCreate", f"Error creating: {result}")
                return result
            if isinstance(result, BaseException):
                raise result
        made += size
        batch *= 2
    return None


async def _delete_pods(
    c: Cluster, resource: Resource[Object], owner: Object, pods: Sequence[Object], recent: Recent
) -> None:
    limit = asyncio.Semaphore(CONCURRENT_WRITES)

    async def remove(pod: Object) -> None:
        meta = pod["metadata"]
        async with limit:
            await c.delete(a.PODS, ObjectKey(meta["namespace"], meta["name"]), uid=meta["uid"])
        recent.deleted(meta["uid"], c.clock.wall_s())
        c.events.normal(resource, owner, "SuccessfulDelete", f"Deleted pod: {meta['name']}")

    await asyncio.gather(*(remove(p) for p in pods))
