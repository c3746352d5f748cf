"""The Job controller: decisions carried out, in the order that makes counting exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.children import (
    claim,
    create_pods,
    delete_pods,
    is_namespace_going,
    owner_or_matching,
)
from fairlead.embedded.controllers.job import JobStep, compute_job, is_ours, is_tracked
from fairlead.embedded.controllers.job_pods import FINALIZER
from fairlead.embedded.controllers.pods import Object, controller_of
from fairlead.embedded.controllers.recent import Recent
from fairlead.kube.errors import Conflict, Invalid, NotFound
from fairlead.kube.resources import ObjectKey


class Jobs:
    name = "job"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = cluster.voice("job-controller")
        self._recent = Recent(cluster.copy(a.PODS), cluster.clock)
        self.watches: Sequence[Watch] = (
            Watch(a.JOBS, itself),
            Watch(a.PODS, owner_or_matching(cluster, a.JOBS)),
        )

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        job = c.get(a.JOBS, key)
        if job is None or not is_ours(job):
            return None
        uid, now_s = job["metadata"]["uid"], c.clock.wall_s()
        owned = await claim(c, a.JOBS, job, a.PODS, adoption={"finalizers": [FINALIZER]})
        pods = self._recent.overlay(uid, owned, now_s)
        step = compute_job(job, pods, now_s)
        if step.delete_job:
            await c.delete(a.JOBS, key, propagation="Foreground", uid=uid)
            return None
        # The status is written before a finalizer goes: what it says is what has been counted.
        await c.write_status(a.JOBS, job, step.status)
        for kind, reason, message in step.events:
            (self._events.normal if kind == "Normal" else self._events.warning)(a.JOBS, job, reason, message)
        await self._change_pods(job, pods, step)
        return step.recheck_in_s

    async def _change_pods(self, job: Object, pods: Sequence[Object], step: JobStep) -> None:
        c = self._cluster
        for pod in pods:
            if pod["metadata"]["name"] in step.release or pod["metadata"]["name"] in step.discard:
                await release(c, pod)
        _, failure = await create_pods(c, self._events, a.JOBS, job, step.create, self._recent)
        doomed = [p for p in pods if p["metadata"]["name"] in step.discard]
        failure = failure or await delete_pods(c, self._events, a.JOBS, job, doomed, self._recent)
        running = [p for p in pods if p["metadata"]["name"] in step.delete]
        # Pods of an ended job are seen until they are gone: the job is not over before.
        failure = failure or await delete_pods(c, self._events, a.JOBS, job, running, Recent())
        if failure is not None and not is_namespace_going(failure):
            raise failure


class JobOrphans:
    """Takes the tracking finalizer off pods whose job is gone, or is going, and will not count them."""

    name = "job-orphans"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.watches: Sequence[Watch] = (Watch(a.PODS, self._tracked), Watch(a.JOBS, self._pods_of))

    def _tracked(self, pod: Object) -> Iterable[ObjectKey]:
        return itself(pod) if is_tracked(pod) and not self._is_counted(pod) else ()

    def _pods_of(self, job: Object) -> Iterable[ObjectKey]:
        for pod in self._cluster.controlled_by(a.PODS, job["metadata"]["uid"]):
            yield from self._tracked(pod)

    def _is_counted(self, pod: Object) -> bool:
        """Whether a job that exists and stays controls the pod."""
        owner = controller_of(pod)
        if owner is None:
            return False
        if owner["kind"] != "Job":
            return True
        job = self._cluster.get(a.JOBS, ObjectKey(pod["metadata"]["namespace"], owner["name"]))
        return job is not None and job["metadata"]["uid"] == owner["uid"] and "deletionTimestamp" not in job["metadata"]

    async def reconcile(self, key: ObjectKey) -> float | None:
        pod = self._cluster.get(a.PODS, key)
        if pod is not None and is_tracked(pod) and not self._is_counted(pod) and not await self._has_job(pod):
            await release(self._cluster, pod)
        return None

    async def _has_job(self, pod: Object) -> bool:
        # Our copy may be old: a pod that is let go uncounted stays uncounted.
        owner = controller_of(pod)
        if owner is None:
            return False
        try:
            job = await self._cluster.client.get(a.JOBS, owner["name"], pod["metadata"]["namespace"])
        except NotFound:
            return False
        return job["metadata"]["uid"] == owner["uid"] and "deletionTimestamp" not in job["metadata"]


async def release(c: Cluster, pod: Object) -> None:
    """Take the tracking finalizer off a pod; raises Conflict when its finalizers may have changed since it was read."""
    meta = pod["metadata"]
    if not is_tracked(pod):
        return
    kept = [f for f in meta["finalizers"] if f != FINALIZER]
    key = ObjectKey(meta["namespace"], meta["name"])
    body = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": kept or None}
    try:
        await c.patch(a.PODS, key, {"metadata": body})
    except Invalid:
        # Another pod has its name by now.
        return
    except Conflict:
        current = await c.client.get(a.PODS, meta["name"], meta["namespace"])
        if current["metadata"]["uid"] == meta["uid"]:
            await release(c, current)
