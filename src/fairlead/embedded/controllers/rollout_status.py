"""Deployment status: counts, and the conditions Available, Progressing and ReplicaFailure. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.clock import format_time, parse_time
from fairlead.embedded.controllers.pods import Object, condition, set_condition
from fairlead.embedded.controllers.rolling import Bounds

NO_DEADLINE_S = 2**31 - 1
"""This progressDeadlineSeconds means that there is none."""


def compute_status(
    deployment: Object,
    new: Object | None,
    replica_sets: Sequence[Object],
    bounds: Bounds,
    now_s: float,
    *,
    created: str = "",
    is_rolling: bool = True,
) -> tuple[Object, float | None]:
    """The status, and in how many seconds the rollout is late if nothing moves (None: no such time).

    `created` is the name of a ReplicaSet that this step makes; `is_rolling` is False while the step only scales, is
    paused or is going away: progress is not judged then.
    """
    counts = _counts(deployment, new, replica_sets)
    conditions = [dict(c) for c in (deployment.get("status") or {}).get("conditions") or ()]
    now = format_time(now_s)
    spared = 0 if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate" else bounds.unavailable
    enough = counts.get("availableReplicas", 0) >= bounds.desired - spared
    available = {
        "type": "Available",
        "status": "True" if enough else "False",
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
    }
    late_in_s: float | None = None
    if _has_deadline(deployment):
        milestone = _milestone(deployment, new, created)
        conditions = _update(_update(conditions, milestone, now), available, now)
        if milestone is None and is_rolling:
            progress, late_in_s = _progress(deployment, new, counts, now_s)
            conditions = _update(conditions, progress, now)
    else:
        conditions = _update([c for c in conditions if c["type"] != "Progressing"], available, now)
    failure = _replica_failure(new, replica_sets) if is_rolling else None
    if is_rolling and failure is None:
        conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
    conditions = _update(conditions, failure, now)
    return counts | {"conditions": conditions}, late_in_s


def is_complete(deployment: Object, status: Object) -> bool:
    """Whether every pod is of the new template and available, and nothing newer is wanted."""
    desired = int(deployment["spec"].get("replicas", 1))
    return bool(
        status.get("updatedReplicas", 0) == desired
        and status.get("replicas", 0) == desired
        and status.get("availableReplicas", 0) == desired
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    )


def _counts(deployment: Object, new: Object | None, replica_sets: Sequence[Object]) -> Object:
    def total(sets: Sequence[Object], name: str) -> int:
        return sum(int((rs.get("status") or {}).get(name, 0)) for rs in sets)

    available = total(replica_sets, "availableReplicas")
    wanted = sum(int(rs["spec"].get("replicas", 0)) for rs in replica_sets)
    counts = {
        "replicas": total(replica_sets, "replicas"),
        "updatedReplicas": total([new] if new else [], "replicas"),
        "readyReplicas": total(replica_sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    status |= {k: v for k, v in counts.items() if v}
    if all("terminatingReplicas" in (rs.get("status") or {}) for rs in replica_sets):
        status["terminatingReplicas"] = total(replica_sets, "terminatingReplicas")
    collisions = (deployment.get("status") or {}).get("collisionCount")
    return status | ({"collisionCount": collisions} if collisions is not None else {})


def _has_deadline(deployment: Object) -> bool:
    return deployment["spec"].get("progressDeadlineSeconds", NO_DEADLINE_S) not in (None, NO_DEADLINE_S)


def _made(state: str, reason: str, message: str) -> Object:
    return {"type": "Progressing", "status": state, "reason": reason, "message": message}


def _milestone(deployment: Object, new: Object | None, created: str) -> Object | None:
    """What is told of progress whatever the counts say."""
    old = condition(deployment, "Progressing")
    reason = old.get("reason") if old else None
    paused = bool(deployment["spec"].get("paused"))
    if paused and reason not in ("DeploymentPaused", "ProgressDeadlineExceeded"):
        return _made("Unknown", "DeploymentPaused", "Deployment is paused")
    if not paused and reason == "DeploymentPaused":
        return _made("Unknown", "DeploymentResumed", "Deployment is resumed")
    if created:
        return _made("True", "NewReplicaSetCreated", f'Created new replica set "{created}"')
    if old is None and new is not None:
        return _made("True", "FoundNewReplicaSet", f'Found new replica set "{new["metadata"]["name"]}"')
    return None


def _progress(
    deployment: Object, new: Object | None, status: Object, now_s: float
) -> tuple[Object | None, float | None]:
    old = condition(deployment, "Progressing")
    same = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if same and old is not None and old.get("reason") == "NewReplicaSetAvailable":
        return None, None
    name = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if is_complete(deployment, status):
        return _made("True", "NewReplicaSetAvailable", f"{name} has successfully progressed."), None
    if _has_progressed(deployment, status):
        updated = {"lastUpdateTime": format_time(now_s)}
        return _made("True", "ReplicaSetUpdated", f"{name} is progressing.") | updated, None
    old = condition(deployment, "Progressing")
    if old is None or old.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None, None
    since_s = parse_time(old["lastUpdateTime"]) if old.get("lastUpdateTime") else now_s
    left_s = since_s + float(deployment["spec"]["progressDeadlineSeconds"]) - now_s
    if left_s > 0:
        return None, left_s + 1.0
    return _made("False", "ProgressDeadlineExceeded", f"{name} has timed out progressing."), None


def _has_progressed(deployment: Object, status: Object) -> bool:
    old = deployment.get("status") or {}
    old_left = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    left = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return bool(
        status.get("updatedReplicas", 0) > old.get("updatedReplicas", 0)
        or left < old_left
        or status.get("readyReplicas", 0) > old.get("readyReplicas", 0)
        or status.get("availableReplicas", 0) > old.get("availableReplicas", 0)
    )


def _replica_failure(new: Object | None, replica_sets: Sequence[Object]) -> Object | None:
    """The new set's failure, or else that of any other."""
    for rs in [*([new] if new else []), *replica_sets]:
        found = condition(rs, "ReplicaFailure")
        if found is not None:
            return {k: found[k] for k in ("type", "status", "reason", "message") if k in found}
    return None


def _update(conditions: list[Object], new: Object | None, now: str) -> list[Object]:
    """A changed condition goes to the end; one whose status and reason stay is left as it is, message included."""
    if new is None:
        return conditions
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None and "lastUpdateTime" not in new and all(old.get(k) == new[k] for k in ("status", "reason")):
        return conditions
    stamped = {"lastUpdateTime": now} | new
    rest = [c for c in conditions if c["type"] != new["type"]]
    return [*rest, set_condition([old] if old else [], stamped, now)[0]]
