"""ReplicaSet: the pods to create and delete, and the status. Pure; results as the ReplicaSet controller's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.embedded.controllers.pods import (
    Object,
    available_in_s,
    deletion_order,
    is_active,
    is_deleting,
    is_ready,
    phase,
    set_condition,
)

BURST_REPLICAS = 500
"""Pods created or deleted in one step at most, as upstream's."""


@dataclass(frozen=True, slots=True)
class ReplicaSetStep:
    """`create` pods to make, names to delete, and when (seconds) availability may change by itself, or None."""

    create: int
    delete: tuple[str, ...]
    status: Object
    recheck_in_s: float | None


def compute_replica_set(
    replica_set: Object, pods: Sequence[Object], now_s: float, related: Sequence[Object] | None = None
) -> ReplicaSetStep:
    """One step. `pods` are those the set controls; `related` are active pods of all sets with the same owner, so that
    a scale-down takes from crowded nodes first (None: the set's own)."""
    spec = replica_set["spec"]
    desired = int(spec.get("replicas", 1))
    active = [p for p in pods if is_active(p)]
    difference = len(active) - desired
    if is_deleting(replica_set):
        difference = 0
    create = min(max(0, -difference), BURST_REPLICAS)
    doomed = deletion_order(active, now_s, related)[: min(max(0, difference), BURST_REPLICAS)]
    status, recheck = _status(replica_set, active, pods, now_s)
    return ReplicaSetStep(create, tuple(p["metadata"]["name"] for p in doomed), status, recheck)


def _status(
    replica_set: Object, active: Sequence[Object], pods: Sequence[Object], now_s: float
) -> tuple[Object, float | None]:
    min_ready_s = float(replica_set["spec"].get("minReadySeconds", 0))
    template_labels = ((replica_set["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    fully_labeled = ready = available = 0
    recheck: float | None = None
    for pod in active:
        labels = pod["metadata"].get("labels") or {}
        fully_labeled += all(labels.get(k) == v for k, v in template_labels.items())
        ready += is_ready(pod)
        wait = available_in_s(pod, min_ready_s, now_s)
        if wait == 0:
            available += 1
        elif wait is not None:
            recheck = wait if recheck is None else min(recheck, wait)
    status: Object = {"replicas": len(active), "observedGeneration": replica_set["metadata"].get("generation", 1)}
    counts = {"fullyLabeledReplicas": fully_labeled, "readyReplicas": ready, "availableReplicas": available}
    status |= {k: v for k, v in counts.items() if v}
    status["terminatingReplicas"] = sum(is_deleting(p) and phase(p) not in ("Succeeded", "Failed") for p in pods)
    old = (replica_set.get("status") or {}).get("conditions")
    if old:
        status["conditions"] = old
    return status, recheck


def with_failure(status: Object, reason: str, message: str, now: str) -> Object:
    """The status with a ReplicaFailure condition, or without one when `reason` is empty. The first failure of a row
    stays told until a step succeeds."""
    conditions = list(status.get("conditions") or ())
    told = any(c["type"] == "ReplicaFailure" for c in conditions)
    if not reason:
        conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
    elif not told:
        failed = {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": message}
        conditions = set_condition(conditions, failed, now)
    result = {k: v for k, v in status.items() if k != "conditions"}
    return result | ({"conditions": conditions} if conditions else {})
