"""The status of a ModelService from its replicas. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.api.model_service import ModelService
from fairlead.serving.plan import Replica
from fairlead.serving.render import SERVICE_LABEL

Json = dict[str, Any]


def compute_status(service: ModelService, replicas: Sequence[Replica], problem: str, trouble: str, now: str) -> Json:
    """`problem` is why replicas cannot be made at all, `trouble` why one that exists does not serve (each empty if
    nothing); `now` is RFC 3339."""
    desired = service.spec.replicas
    alive = [r for r in replicas if not r.deleting and not r.failed]
    ready = sum(r.ready for r in alive)
    updated = [r for r in alive if r.updated]
    name = service.metadata["name"]
    conditions = [
        _available(desired, ready, problem, trouble),
        _progressing(desired, len(alive), updated, problem),
    ]
    old = {c.type: c for c in service.status.conditions}
    for c in conditions:
        before = old.get(c["type"])
        kept = before is not None and before.status == c["status"] and before.last_transition_time
        c["lastTransitionTime"] = before.last_transition_time if kept and before else now
        c["observedGeneration"] = service.metadata.get("generation", 1)
    return {
        "observedGeneration": service.metadata.get("generation", 1),
        "replicas": len(alive),
        "readyReplicas": ready,
        "updatedReplicas": len(updated),
        "selector": f"{SERVICE_LABEL}={name}",
        "conditions": conditions,
    }


def _available(desired: int, ready: int, problem: str, trouble: str) -> Json:
    if problem:
        return _condition("Ready", False, "CannotCreateReplicas", problem)
    if ready >= desired:
        return _condition("Ready", True, "AllReplicasReady", f"{ready} of {desired} replicas are ready")
    said = f"{ready} of {desired} replicas are ready"
    if trouble:
        return _condition("Ready", False, "ReplicaInTrouble", f"{said}; {trouble}")
    return _condition("Ready", False, "WaitingForReplicas", said)


def _progressing(desired: int, alive: int, updated: Sequence[Replica], problem: str) -> Json:
    if problem:
        return _condition("RolledOut", False, "CannotCreateReplicas", problem)
    done = len(updated) == alive == desired and all(r.ready for r in updated)
    text = f"{sum(r.ready for r in updated)} of {desired} replicas run the current template"
    return _condition("RolledOut", done, "Complete" if done else "InProgress", text)


def _condition(kind: str, true: bool, reason: str, message: str) -> Json:
    return {"type": kind, "status": "True" if true else "False", "reason": reason, "message": message}
