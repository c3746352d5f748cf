"""The StatefulSet controller: decisions carried out."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.children import claim, is_namespace_going, owner_or_matching
from fairlead.embedded.controllers.pods import Object, controller_of
from fairlead.embedded.controllers.recent import Recent
from fairlead.embedded.controllers.stateful_set import (
    StatefulSetStep,
    compute_stateful_set,
    ordinal,
    outdated_revisions,
)
from fairlead.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from fairlead.kube.resources import ObjectKey

TAKEN_RETRY_S = 0.2


class StatefulSets:
    name = "statefulset"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = cluster.voice("statefulset-controller")
        self._recent = Recent(cluster.copy(a.PODS), cluster.clock)
        self._recent_revisions = Recent(cluster.copy(a.REVISIONS), cluster.clock)
        cluster.copy(a.CLAIMS)
        self.watches: Sequence[Watch] = (
            Watch(a.STATEFUL_SETS, itself),
            Watch(a.PODS, owner_or_matching(cluster, a.STATEFUL_SETS)),
            Watch(a.REVISIONS, owner_or_matching(cluster, a.STATEFUL_SETS)),
        )

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        stateful_set = c.get(a.STATEFUL_SETS, key)
        if stateful_set is None:
            return None
        uid, now_s = stateful_set["metadata"]["uid"], c.clock.wall_s()
        kept = await claim(c, a.STATEFUL_SETS, stateful_set, a.REVISIONS)
        revisions = self._recent_revisions.overlay(uid, kept, now_s)
        members = await claim(
            c, a.STATEFUL_SETS, stateful_set, a.PODS, also=lambda p: ordinal(stateful_set, p) is not None
        )
        pods = self._recent.overlay(uid, members, now_s)
        claims = {v["metadata"]["name"]: v for v in c.in_namespace(a.CLAIMS, key.namespace)}
        step = compute_stateful_set(stateful_set, pods, revisions, now_s, claims)
        if not await self._revise(stateful_set, step, now_s):
            return TAKEN_RETRY_S
        again_s = await self._keep_pods(stateful_set, pods, step)
        await c.write_status(a.STATEFUL_SETS, stateful_set, step.status)
        for name in outdated_revisions(stateful_set, pods, revisions, step.status):
            await c.delete(a.REVISIONS, ObjectKey(key.namespace, name))
        return again_s or step.recheck_in_s

    async def _revise(self, stateful_set: Object, step: StatefulSetStep, now_s: float) -> bool:
        """Write the revision; False where its name was taken by a different one."""
        c, namespace = self._cluster, stateful_set["metadata"]["namespace"]
        if step.renumber is not None:
            name, number = step.renumber
            await c.patch(a.REVISIONS, ObjectKey(namespace, name), {"revision": number})
        wanted = step.create_revision
        if wanted is None:
            return True
        made = await c.create(a.REVISIONS, wanted)
        if made is not None:
            self._recent_revisions.created(made, now_s)
            return True
        try:
            existing = await c.client.get(a.REVISIONS, wanted["metadata"]["name"], namespace)
        except NotFound:
            return False
        owner = controller_of(existing)
        if existing.get("data") == wanted["data"] and (
            owner is None or owner["uid"] == stateful_set["metadata"]["uid"]
        ):
            return True
        old = stateful_set.get("status") or {}
        collided = {"replicas": 0, **old, "collisionCount": int(old.get("collisionCount") or 0) + 1}
        await c.write_status(a.STATEFUL_SETS, stateful_set, collided)
        return False

    async def _keep_pods(self, stateful_set: Object, pods: Sequence[Object], step: StatefulSetStep) -> float | None:
        c, namespace = self._cluster, stateful_set["metadata"]["namespace"]
        for volume_claim in step.claims:
            await self._create_claim(stateful_set, volume_claim)
        again_s: float | None = None
        for pod in step.create:
            again_s = again_s if await self._create(stateful_set, pod) else TAKEN_RETRY_S
        for name, labels in step.relabel.items():
            await c.patch(a.PODS, ObjectKey(namespace, name), {"metadata": {"labels": labels}})
        for name, owners in step.claim_owners.items():
            await c.patch(a.CLAIMS, ObjectKey(namespace, name), {"metadata": {"ownerReferences": owners or None}})
        for pod in pods:
            if pod["metadata"]["name"] in step.delete:
                await self._delete(stateful_set, pod)
        return again_s

    async def _create_claim(self, stateful_set: Object, volume_claim: Object) -> None:
        c, meta = self._cluster, stateful_set["metadata"]
        name = volume_claim["metadata"]["name"]
        pod = name.removeprefix(name[: name.rindex(f"-{meta['name']}-")] + "-")
        told = f"create Claim {name} Pod {pod} in StatefulSet {meta['name']}"
        try:
            made = await c.create(a.CLAIMS, volume_claim)
        except ApiError as error:
            if not is_namespace_going(error):
                self._events.warning(a.STATEFUL_SETS, stateful_set, "FailedCreate", f"{told} failed error: {error}")
            raise
        if made is not None:
            self._events.normal(a.STATEFUL_SETS, stateful_set, "SuccessfulCreate", f"{told} success")

    async def _create(self, stateful_set: Object, pod: Object) -> bool:
        c, meta = self._cluster, stateful_set["metadata"]
        told = f"create Pod {pod['metadata']['name']} in StatefulSet {meta['name']}"
        try:
            made = await c.client.create(a.PODS, pod, meta["namespace"], field_manager=a.MANAGER)
        except AlreadyExists:
            # Ours, and our copy is late; or someone else's, and it has to go first.
            return False
        except ApiError as error:
            if is_namespace_going(error):
                return True
            self._events.warning(a.STATEFUL_SETS, stateful_set, "FailedCreate", f"{told} failed error: {error}")
            raise
        self._recent.created(made, c.clock.wall_s())
        self._events.normal(a.STATEFUL_SETS, stateful_set, "SuccessfulCreate", f"{told} successful")
        return True

    async def _delete(self, stateful_set: Object, pod: Object) -> None:
        c, meta = self._cluster, pod["metadata"]
        try:
            await c.client.delete(a.PODS, meta["name"], meta["namespace"], uid=meta["uid"])
        except (NotFound, Conflict):
            return
        self._recent.deleted(meta["uid"], c.clock.wall_s())
        message = f"delete Pod {meta['name']} in StatefulSet {stateful_set['metadata']['name']} successful"
        self._events.normal(a.STATEFUL_SETS, stateful_set, "SuccessfulDelete", message)
