"""The disruption controller (PodDisruptionBudget status) and the resource claim controller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.claims import compute_claim, compute_pod_claims, needs_claims
from fairlead.embedded.controllers.disruption import compute_budget
from fairlead.embedded.controllers.pods import Object, controller_of
from fairlead.embedded.controllers.recent import Recent
from fairlead.kube.errors import Conflict
from fairlead.kube.resources import ObjectKey
from fairlead.kube.selectors import from_label_selector

_SCALED = {
    "ReplicaSet": a.REPLICA_SETS,
    "StatefulSet": a.STATEFUL_SETS,
    "Deployment": a.DEPLOYMENTS,
}


class Budgets:
    name = "disruption"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.watches: Sequence[Watch] = (Watch(a.BUDGETS, itself), Watch(a.PODS, self._budgets_of_pod))

    def _budgets_of_pod(self, pod: Object) -> Iterable[ObjectKey]:
        meta = pod["metadata"]
        for budget in self._cluster.in_namespace(a.BUDGETS, meta["namespace"]):
            if from_label_selector(budget["spec"].get("selector")).matches(meta.get("labels") or {}):
                yield ObjectKey(meta["namespace"], budget["metadata"]["name"])

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        budget = c.get(a.BUDGETS, key)
        if budget is None:
            return None
        selector = from_label_selector(budget["spec"].get("selector"))
        pods = [p for p in c.in_namespace(a.PODS, key.namespace) if selector.matches(p["metadata"].get("labels") or {})]
        status = compute_budget(budget, pods, self._expected(pods, key.namespace), c.clock.wall_s())
        try:
            await c.write_status(a.BUDGETS, budget, status)
        except Conflict:
            return 0.1
        return 60.0 if status.get("disruptedPods") else None

    def _expected(self, pods: Sequence[Object], namespace: str) -> int:
        """The sum of the scales of the pods' controllers; a bare pod counts once."""
        scales: dict[str, int] = {}
        for pod in pods:
            owner = controller_of(pod)
            resource = _SCALED.get(owner["kind"]) if owner else None
            found = self._cluster.get(resource, ObjectKey(namespace, owner["name"])) if resource and owner else None
            uid = owner["uid"] if owner and found else pod["metadata"]["uid"]
            scales[uid] = int(found["spec"].get("replicas", 1)) if found else 1
        return sum(scales.values())


class PodClaims:
    """ResourceClaims from templates, one set per pod."""

    name = "resourceclaim-create"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = cluster.voice("resourceclaim")
        self._recent = Recent(cluster.copy(a.RESOURCE_CLAIMS), cluster.clock)
        self.watches: Sequence[Watch] = (
            Watch(a.PODS, lambda pod: itself(pod) if needs_claims(pod) else ()),
            Watch(a.CLAIM_TEMPLATES, self._pods_of_template),
        )

    def _pods_of_template(self, template: Object) -> Iterable[ObjectKey]:
        meta = template["metadata"]
        for pod in self._cluster.in_namespace(a.PODS, meta["namespace"]):
            uses = pod["spec"].get("resourceClaims") or ()
            if any(u.get("resourceClaimTemplateName") == meta["name"] for u in uses):
                yield from itself(pod)

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        pod = c.get(a.PODS, key)
        if pod is None or not needs_claims(pod):
            return None
        uid, now_s = pod["metadata"]["uid"], c.clock.wall_s()
        templates = {t["metadata"]["name"]: t for t in c.in_namespace(a.CLAIM_TEMPLATES, key.namespace)}
        owned = self._recent.overlay(uid, c.controlled_by(a.RESOURCE_CLAIMS, uid), now_s)
        step = compute_pod_claims(pod, owned, templates)
        if step.missing_template:
            message = f'resource claim template "{step.missing_template}" not found'
            self._events.warning(a.PODS, pod, "FailedResourceClaimCreation", message)
        for claim in step.create:
            made = await c.create(a.RESOURCE_CLAIMS, claim)
            if made is not None:
                self._recent.created(made, now_s)
                owned.append(made)
        final = compute_pod_claims(pod, owned, templates)
        if final.statuses is not None:
            await c.client.modify(
                a.PODS, key.name, key.namespace,
                lambda o: o["status"].__setitem__("resourceClaimStatuses", final.statuses), subresource="status",
            )  # fmt: skip
        return None


class ClaimUsers:
    """Takes ended pods off claims, frees what nobody uses, deletes claims of pods that are done."""

    name = "resourceclaim"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.watches: Sequence[Watch] = (Watch(a.RESOURCE_CLAIMS, itself), Watch(a.PODS, self._claims_of_pod))

    def _claims_of_pod(self, pod: Object) -> Iterable[ObjectKey]:
        generated = {
            s["name"]: s.get("resourceClaimName") for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
        }
        for use in pod["spec"].get("resourceClaims") or ():
            name = use.get("resourceClaimName") or generated.get(use["name"])
            if name:
                yield ObjectKey(pod["metadata"]["namespace"], name)

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        claim = c.get(a.RESOURCE_CLAIMS, key)
        if claim is None:
            return None
        pods = {p["metadata"]["uid"]: p for p in c.in_namespace(a.PODS, key.namespace)}
        step = compute_claim(claim, pods)
        status = dict(claim.get("status") or {})
        if step.reserved_for is not None:
            status["reservedFor"] = step.reserved_for
            if not step.reserved_for:
                del status["reservedFor"]
        if step.deallocate:
            status.pop("allocation", None)
            status.pop("devices", None)
        if status != (claim.get("status") or {}):
            await c.client.replace(a.RESOURCE_CLAIMS, {**claim, "status": status}, subresource="status")
        if step.delete:
            await c.delete(a.RESOURCE_CLAIMS, key)
        return None
