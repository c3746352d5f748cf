"""The disruption controller (PodDisruptionBudget status) and the resource claim controller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.clock import parse_time
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.claims import (
    compute_claim,
    compute_pod_claims,
    consumer_names,
    needs_claims,
    release,
)
from fairlead.embedded.controllers.disruption import DELETION_TIMEOUT_S, compute_budget, failed_budget
from fairlead.embedded.controllers.pods import Object, controller_of
from fairlead.embedded.controllers.recent import Recent
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import Conflict, MethodNotAllowed, NotFound
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
        self._events = cluster.voice("controllermanager")
        self._discovery = Discovery(cluster.client)
        for resource in _SCALED.values():
            cluster.copy(resource)
        self.watches: Sequence[Watch] = (
            Watch(a.BUDGETS, itself),
            Watch(a.PODS, self._budgets_of_pod),
            *(Watch(r, self._budgets_of_scaled) for r in (a.DEPLOYMENTS, a.STATEFUL_SETS)),
        )

    def _budgets_of_scaled(self, scaled: Object) -> Iterable[ObjectKey]:
        """Budgets of the pods that something with a scale makes."""
        meta, template = scaled["metadata"], scaled["spec"].get("template") or {}
        labels = (template.get("metadata") or {}).get("labels") or {}
        for budget in self._cluster.in_namespace(a.BUDGETS, meta["namespace"]):
            if from_label_selector(budget["spec"].get("selector")).matches(labels):
                yield ObjectKey(meta["namespace"], budget["metadata"]["name"])

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
        selector, now_s = from_label_selector(budget["spec"].get("selector")), c.clock.wall_s()
        pods = [p for p in c.in_namespace(a.PODS, key.namespace) if selector.matches(p["metadata"].get("labels") or {})]
        if not pods:
            self._events.normal(a.BUDGETS, budget, "NoPods", "No matching pods found")
        try:
            status = compute_budget(budget, pods, await self._expected(budget, pods, key.namespace), now_s)
        except LookupError as error:
            message = f"Failed to calculate the number of expected pods: {error.args[0]}"
            self._events.warning(a.BUDGETS, budget, "CalculateExpectedPodCountFailed", message)
            status = failed_budget(budget, str(error.args[0]), now_s)
        try:
            await c.write_status(a.BUDGETS, budget, status)
        except Conflict:
            return 0.1
        due = [parse_time(t) + DELETION_TIMEOUT_S - now_s for t in (status.get("disruptedPods") or {}).values()]
        return max(0.1, min(due) + 0.1) if due else None

    async def _expected(self, budget: Object, pods: Sequence[Object], namespace: str) -> int:
        """The sum of the scales of the pods' controllers; bare pods have none. Raises LookupError for a controller
        that has no scale."""
        spec = budget["spec"]
        if spec.get("maxUnavailable") is None and isinstance(spec.get("minAvailable"), int):
            return len(pods)
        scales: dict[str, int] = {}
        bare = []
        for pod in pods:
            owner = controller_of(pod)
            if owner is None:
                bare.append(pod["metadata"]["name"])
            elif owner["uid"] not in scales:
                uid, replicas = await self._scale(owner, pod, namespace)
                scales[owner["uid"]] = 0 if uid in scales and uid != owner["uid"] else replicas
                scales.setdefault(uid, 0)
        if bare:
            told = f"Pods of this PodDisruptionBudget that no controller manages: {', '.join(sorted(bare))}"
            self._events.warning(a.BUDGETS, budget, "UnmanagedPods", told)
        return sum(scales.values())

    async def _scale(self, owner: Mapping[str, Any], pod: Object, namespace: str) -> tuple[str, int]:
        """Uid and replicas of what controls the pod; of the Deployment above a ReplicaSet."""
        c, key = self._cluster, ObjectKey(namespace, owner["name"])
        resource = _SCALED.get(owner["kind"])
        if resource is not None:
            found = c.get(resource, key)
            if found is None or found["metadata"]["uid"] != owner["uid"]:
                raise LookupError(f'found no controllers for pod "{pod["metadata"]["name"]}"')
            above = controller_of(found)
            if owner["kind"] == "ReplicaSet" and above is not None and above["kind"] == "Deployment":
                return await self._scale(above, pod, namespace)
            return owner["uid"], int(found["spec"].get("replicas", 1))
        try:
            scaled = await self._discovery.resource_for(owner["apiVersion"], owner["kind"])
            scale = await c.client.scale(scaled, owner["name"], namespace)
        except (NotFound, MethodNotAllowed):
            raise LookupError(f'found no controllers for pod "{pod["metadata"]["name"]}"') from None
        return owner["uid"], int(scale.spec.replicas or 0)


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
            patch = {"metadata": {"uid": uid}, "status": {"resourceClaimStatuses": final.statuses}}
            with contextlib.suppress(NotFound, Conflict):
                await c.client.patch(a.PODS, key.name, patch, key.namespace, subresource="status")
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
        found = (c.get(a.PODS, ObjectKey(key.namespace, name)) for name in consumer_names(claim))
        pods = {pod["metadata"]["uid"]: pod for pod in found if pod is not None}
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
        if step.release:
            with contextlib.suppress(NotFound):
                await c.client.modify(a.RESOURCE_CLAIMS, key.name, key.namespace, release)
        if step.delete:
            await c.delete(a.RESOURCE_CLAIMS, key)
        return None
