"""The ReplicaSet controller: decisions carried out."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.clock import format_time
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.children import (
    claim,
    create_pods,
    delete_pods,
    is_namespace_going,
    owner_or_matching,
)
from fairlead.embedded.controllers.pods import Object, controller_of, is_active, owner_reference, pod_from_template
from fairlead.embedded.controllers.recent import Recent
from fairlead.embedded.controllers.replica_set import ReplicaSetStep, compute_replica_set, with_failure
from fairlead.kube.errors import ApiError
from fairlead.kube.resources import ObjectKey


class ReplicaSets:
    name = "replicaset"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = cluster.voice("replicaset-controller")
        self._recent = Recent(cluster.copy(a.PODS), cluster.clock)
        self.watches: Sequence[Watch] = (
            Watch(a.REPLICA_SETS, itself),
            Watch(a.PODS, owner_or_matching(cluster, a.REPLICA_SETS)),
        )

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        replica_set = c.get(a.REPLICA_SETS, key)
        if replica_set is None:
            return None
        now_s = c.clock.wall_s()
        owned = await claim(c, a.REPLICA_SETS, replica_set, a.PODS)
        pods = self._recent.overlay(replica_set["metadata"]["uid"], owned, now_s)
        step = compute_replica_set(replica_set, pods, now_s, self._related(replica_set))
        failure = await self._balance(replica_set, pods, step)
        reason = "" if failure is None else "FailedCreate" if step.create else "FailedDelete"
        status = with_failure(step.status, reason, str(failure or ""), format_time(now_s))
        await c.write_status(a.REPLICA_SETS, replica_set, status)
        if failure is not None and not is_namespace_going(failure):
            raise failure
        return step.recheck_in_s

    async def _balance(self, replica_set: Object, pods: Sequence[Object], step: ReplicaSetStep) -> ApiError | None:
        c = self._cluster
        reference = owner_reference(replica_set, a.REPLICA_SETS.api_version, a.REPLICA_SETS.kind)
        template = replica_set["spec"]["template"]
        wanted = [pod_from_template(template, replica_set, reference) for _ in range(step.create)]
        _, failure = await create_pods(c, self._events, a.REPLICA_SETS, replica_set, wanted, self._recent)
        doomed = [p for p in pods if p["metadata"]["name"] in step.delete]
        return failure or await delete_pods(c, self._events, a.REPLICA_SETS, replica_set, doomed, self._recent)

    def _related(self, replica_set: Object) -> list[Object] | None:
        """Active pods of all sets that the owner of this one controls."""
        owner = controller_of(replica_set)
        if owner is None:
            return None
        c = self._cluster
        siblings = c.controlled_by(a.REPLICA_SETS, owner["uid"])
        return [p for rs in siblings for p in c.controlled_by(a.PODS, rs["metadata"]["uid"]) if is_active(p)]
