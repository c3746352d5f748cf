"""The Deployment controller: decisions carried out."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.clock import format_time
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.children import claim, is_namespace_going, owner_or_matching
from fairlead.embedded.controllers.deployment import DeploymentStep, compute_deployment, find_new, is_same_template
from fairlead.embedded.controllers.pods import Object, controller_of, phase, set_condition
from fairlead.embedded.controllers.recent import Recent
from fairlead.kube.errors import AlreadyExists, ApiError, NotFound
from fairlead.kube.resources import ObjectKey

COLLISION_RETRY_S = 0.05


class Deployments:
    name = "deployment"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = cluster.voice("deployment-controller")
        self._recent = Recent(cluster.copy(a.REPLICA_SETS), cluster.clock)
        self.watches: Sequence[Watch] = (
            Watch(a.DEPLOYMENTS, itself),
            Watch(a.REPLICA_SETS, owner_or_matching(cluster, a.DEPLOYMENTS)),
            Watch(a.PODS, self._recreating),
        )

    def _recreating(self, pod: Object) -> Sequence[ObjectKey]:
        """The Recreate strategy waits for pods, which may end without their ReplicaSet changing."""
        owner = controller_of(pod)
        namespace = pod["metadata"]["namespace"]
        if owner is None or owner["kind"] != "ReplicaSet" or phase(pod) == "Pending":
            return ()
        rs = self._cluster.get(a.REPLICA_SETS, ObjectKey(namespace, owner["name"]))
        above = controller_of(rs) if rs else None
        found = self._cluster.get(a.DEPLOYMENTS, ObjectKey(namespace, above["name"])) if above else None
        if above is None or found is None or (found["spec"].get("strategy") or {}).get("type") != "Recreate":
            return ()
        return (ObjectKey(namespace, above["name"]),)

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        deployment = c.get(a.DEPLOYMENTS, key)
        if deployment is None:
            return None
        now_s = c.clock.wall_s()
        owned = await claim(c, a.DEPLOYMENTS, deployment, a.REPLICA_SETS)
        sets = self._recent.overlay(deployment["metadata"]["uid"], owned, now_s)
        step = compute_deployment(deployment, sets, self._old_pods_alive(deployment, sets), now_s)
        if step.create is not None and not await self._create(deployment, step.create):
            return COLLISION_RETRY_S
        await self._resize(deployment, sets, step)
        for name in step.delete:
            await c.delete(a.REPLICA_SETS, ObjectKey(key.namespace, name))
        await self._write(deployment, step)
        return step.recheck_in_s

    def _old_pods_alive(self, deployment: Object, sets: Sequence[Object]) -> int:
        new = find_new(deployment, sets)
        return sum(
            phase(pod) not in ("Succeeded", "Failed")
            for rs in sets
            if rs is not new
            for pod in self._cluster.controlled_by(a.PODS, rs["metadata"]["uid"])
        )

    async def _create(self, deployment: Object, wanted: Object) -> bool:
        """False where the name was taken and another one will be tried."""
        c = self._cluster
        try:
            made = await c.client.create(
                a.REPLICA_SETS, wanted, wanted["metadata"]["namespace"], field_manager=a.MANAGER
            )
        except AlreadyExists:
            return await self._find_or_collide(deployment, wanted)
        except ApiError as error:
            if not is_namespace_going(error):
                await self._tell_failure(deployment, wanted, error)
            raise
        self._recent.created(made, c.clock.wall_s())
        size = wanted["spec"]["replicas"]
        if size:
            message = f"Scaled up replica set {made['metadata']['name']} from 0 to {size}"
            self._events.normal(a.DEPLOYMENTS, deployment, "ScalingReplicaSet", message)
        return True

    async def _find_or_collide(self, deployment: Object, wanted: Object) -> bool:
        meta = wanted["metadata"]
        try:
            existing = await self._cluster.client.get(a.REPLICA_SETS, meta["name"], meta["namespace"])
        except NotFound:
            return False
        owner = controller_of(existing)
        same = is_same_template(existing["spec"]["template"], wanted["spec"]["template"])
        if owner is not None and owner["uid"] == deployment["metadata"]["uid"] and same:
            self._recent.created(existing, self._cluster.clock.wall_s())
            return False
        old = deployment.get("status") or {}
        status = {**old, "collisionCount": int(old.get("collisionCount", 0)) + 1}
        await self._cluster.write_status(a.DEPLOYMENTS, deployment, status)
        return False

    async def _tell_failure(self, deployment: Object, wanted: Object, error: ApiError) -> None:
        name = wanted["metadata"]["name"]
        message = f'Failed to create new replica set "{name}": {error}'
        self._events.warning(a.DEPLOYMENTS, deployment, "ReplicaSetCreateError", message)
        now = format_time(self._cluster.clock.wall_s())
        status = deployment.get("status") or {}
        made = {
            "type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": message,
            "lastUpdateTime": now,
        }  # fmt: skip
        old = next((c for c in status.get("conditions") or () if c["type"] == "Progressing"), None)
        if old is None or old["reason"] != made["reason"]:
            conditions = set_condition(list(status.get("conditions") or ()), made, now)
            await self._cluster.write_status(a.DEPLOYMENTS, deployment, {**status, "conditions": conditions})

    async def _resize(self, deployment: Object, sets: Sequence[Object], step: DeploymentStep) -> None:
        before = {rs["metadata"]["name"]: rs for rs in sets}
        for name, patch in step.update.items():
            rs = before[name]
            # The version makes sure that nobody else's change of size is overwritten unseen.
            version = {"resourceVersion": rs["metadata"]["resourceVersion"], "uid": rs["metadata"]["uid"]}
            body = {**patch, "metadata": {**(patch.get("metadata") or {}), **version}}
            made = await self._cluster.patch(a.REPLICA_SETS, ObjectKey(rs["metadata"]["namespace"], name), body)
            size, had = (patch.get("spec") or {}).get("replicas"), int(rs["spec"].get("replicas", 0))
            if made is not None and size is not None and size != had:
                way = "up" if size > had else "down"
                message = f"Scaled {way} replica set {name} from {had} to {size}"
                self._events.normal(a.DEPLOYMENTS, deployment, "ScalingReplicaSet", message)

    async def _write(self, deployment: Object, step: DeploymentStep) -> None:
        if not step.annotate:
            await self._cluster.write_status(a.DEPLOYMENTS, deployment, step.status)
            return
        meta = deployment["metadata"]
        annotated = {**meta, "annotations": {**(meta.get("annotations") or {}), **step.annotate}}
        body = {**deployment, "metadata": annotated, "status": step.status}
        await self._cluster.replace(a.DEPLOYMENTS, body, subresource="status")
