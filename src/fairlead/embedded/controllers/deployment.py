"""Deployment: ReplicaSets to create, resize and delete, and the status. Pure; the Deployment controller's results."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.clock import format_time, parse_time
from fairlead.embedded.controllers.hashing import template_hash
from fairlead.embedded.controllers.pods import Object, condition, created_s, owner_reference, set_condition
from fairlead.embedded.controllers.rolling import (
    Bounds,
    Set,
    compute_new_size,
    compute_old_sizes,
    compute_proportional,
    resolve_bounds,
)

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAX,
    "deprecated.deployment.rollback.to",
}  # fmt: skip


@dataclass(slots=True)
class DeploymentStep:
    """What to do now. `update` maps ReplicaSet name -> the merge patch that resizes or annotates it."""

    create: Object | None = None
    update: dict[str, Object] = field(default_factory=dict)
    delete: list[str] = field(default_factory=list)
    annotate: Object | None = None
    """Merge patch of the Deployment's own metadata (its revision), or None."""
    status: Object = field(default_factory=dict)
    recheck_in_s: float | None = None


def compute_deployment(
    deployment: Object, replica_sets: Sequence[Object], old_pods_alive: int, now_s: float
) -> DeploymentStep:
    """One step. `replica_sets` are those it controls; `old_pods_alive` counts pods of old templates not yet gone
    (the Recreate strategy waits for them)."""
    step = DeploymentStep()
    new = find_new(deployment, replica_sets)
    old = [rs for rs in replica_sets if rs is not new]
    if "deletionTimestamp" in deployment["metadata"]:
        step.status = _status(deployment, new, replica_sets, now_s, step)
        return step
    paused = bool(deployment["spec"].get("paused"))
    revision = _next_revision(old, new)
    if new is None and not paused and not _must_wait_for_recreate(deployment, old, old_pods_alive):
        step.create = _new_replica_set(deployment, replica_sets, revision, old)
    elif new is not None:
        _annotate(deployment, new, revision, step)
    # The revision is the new set's own once it has one: a rollback keeps the higher number it was given.
    _annotate_deployment(deployment, new, step.create, revision, step)
    _resize(deployment, new, step.create, old, paused, step)
    if not paused:
        _clean_up(deployment, old, new, step)
    step.status = _status(deployment, new, replica_sets, now_s, step)
    return step


def find_new(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The oldest ReplicaSet with exactly the Deployment's template (its hash label aside)."""
    wanted = deployment["spec"]["template"]
    for rs in sorted(replica_sets, key=lambda r: (created_s(r), r["metadata"]["name"])):
        if _equal_templates(wanted, rs["spec"]["template"]):
            return rs
    return None


def _equal_templates(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return _without_hash(left) == _without_hash(right)


def _without_hash(template: Mapping[str, Any]) -> Object:
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": {k: v for k, v in metadata.items() if v not in ({}, None)}}


def _revision(obj: Mapping[str, Any]) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _next_revision(old: Sequence[Object], new: Object | None) -> int:
    highest = max((_revision(rs) for rs in old), default=0) + 1
    return max(highest, _revision(new)) if new is not None else highest


def _must_wait_for_recreate(deployment: Object, old: Sequence[Object], old_pods_alive: int) -> bool:
    if (deployment["spec"].get("strategy") or {}).get("type") != "Recreate":
        return False
    return old_pods_alive > 0 or any(int(rs["spec"].get("replicas", 0)) > 0 for rs in old)


def _bounds(deployment: Object) -> Bounds:
    desired = int(deployment["spec"].get("replicas", 1))
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Bounds(desired, 0, desired)
    return resolve_bounds(desired, strategy.get("rollingUpdate") or {})


def _copied_annotations(deployment: Object) -> dict[str, str]:
    return {k: v for k, v in (deployment["metadata"].get("annotations") or {}).items() if k not in _NOT_COPIED}


def _new_replica_set(deployment: Object, existing: Sequence[Object], revision: int, old: Sequence[Object]) -> Object:
    spec = deployment["spec"]
    collisions = int((deployment.get("status") or {}).get("collisionCount", 0))
    hashed = template_hash(spec["template"], collisions)
    template = copy.deepcopy(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = hashed
    selector = copy.deepcopy(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = hashed
    bounds = _bounds(deployment)
    sets = [_as_set(rs) for rs in existing]
    size = compute_new_size(Set("", 0, 0, 0), sets, bounds)
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{hashed}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": dict(template["metadata"]["labels"]),
            "annotations": {**_copied_annotations(deployment), REVISION: str(revision), **_size_annotations(bounds)},
            "ownerReferences": [owner_reference(deployment, "apps/v1", "Deployment")],
        },
        "spec": {
            "replicas": size,
            "selector": selector,
            "template": template,
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
        },
    }


def _size_annotations(bounds: Bounds) -> dict[str, str]:
    return {DESIRED: str(bounds.desired), MAX: str(bounds.desired + bounds.surge)}


def _as_set(rs: Object) -> Set:
    status = rs.get("status") or {}
    return Set(
        rs["metadata"]["name"],
        int(rs["spec"].get("replicas", 1)),
        int(status.get("replicas", 0)),
        int(status.get("availableReplicas", 0)),
        created_s(rs),
    )


def _annotate(deployment: Object, new: Object, revision: int, step: DeploymentStep) -> None:
    have = new["metadata"].get("annotations") or {}
    want = _copied_annotations(deployment)
    changed = {k: v for k, v in want.items() if have.get(k) != v}
    if have.get(REVISION) != str(revision):
        changed[REVISION] = str(revision)
        before = have.get(REVISION)
        if before:
            history = have.get(REVISION_HISTORY)
            changed[REVISION_HISTORY] = f"{history},{before}" if history else before
    if changed:
        _patch(step, new["metadata"]["name"], {"metadata": {"annotations": changed}})
    min_ready = deployment["spec"].get("minReadySeconds", 0)
    if new["spec"].get("minReadySeconds", 0) != min_ready:
        _patch(step, new["metadata"]["name"], {"spec": {"minReadySeconds": min_ready}})


def _annotate_deployment(
    deployment: Object, new: Object | None, created: Object | None, revision: int, step: DeploymentStep
) -> None:
    if new is None and created is None:
        return
    have = (deployment["metadata"].get("annotations") or {}).get(REVISION)
    if have != str(revision):
        step.annotate = {"metadata": {"annotations": {REVISION: str(revision)}}}


def _resize(
    deployment: Object,
    new: Object | None,
    created: Object | None,
    old: Sequence[Object],
    paused: bool,
    step: DeploymentStep,
) -> None:
    bounds = _bounds(deployment)
    everything = [*old, *([new] if new else [])]
    if _is_scaling_event(bounds, everything) or paused:
        _scale(bounds, new, old, deployment, step)
        return
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        for rs in old:
            _set_size(rs, 0, bounds, step)
        if new is not None:
            _set_size(new, bounds.desired, bounds, step)
        return
    if created is not None:
        return
    if new is None:
        return
    new_set, old_sets = _as_set(new), [_as_set(rs) for rs in old if int(rs["spec"].get("replicas", 0)) > 0]
    size = compute_new_size(new_set, old_sets, bounds)
    if size != new_set.spec:
        _set_size(new, size, bounds, step)
        return
    sizes = compute_old_sizes(new_set, old_sets, bounds)
    for rs in old:
        if rs["metadata"]["name"] in sizes:
            _set_size(rs, sizes[rs["metadata"]["name"]], bounds, step)


def _is_scaling_event(bounds: Bounds, replica_sets: Sequence[Object]) -> bool:
    for rs in replica_sets:
        if int(rs["spec"].get("replicas", 0)) > 0:
            desired = (rs["metadata"].get("annotations") or {}).get(DESIRED)
            if desired is not None and desired != str(bounds.desired):
                return True
    return False


def _scale(bounds: Bounds, new: Object | None, old: Sequence[Object], deployment: Object, step: DeploymentStep) -> None:
    active = [rs for rs in [*old, *([new] if new else [])] if int(rs["spec"].get("replicas", 0)) > 0]
    if len(active) <= 1:
        target = active[0] if active else (new or max(old, key=_revision, default=None))
        if target is not None:
            _set_size(target, bounds.desired, bounds, step)
        return
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return
    before = {
        rs["metadata"]["name"]: int((rs["metadata"].get("annotations") or {}).get(MAX, "0") or 0) for rs in active
    }
    sizes = compute_proportional([_as_set(rs) for rs in active], bounds.desired, bounds.surge, before)
    for rs in active:
        _set_size(rs, sizes.get(rs["metadata"]["name"], int(rs["spec"]["replicas"])), bounds, step)


def _set_size(rs: Object, size: int, bounds: Bounds, step: DeploymentStep) -> None:
    have = rs["metadata"].get("annotations") or {}
    annotations = {k: v for k, v in _size_annotations(bounds).items() if have.get(k) != v}
    if int(rs["spec"].get("replicas", 1)) != size:
        _patch(step, rs["metadata"]["name"], {"spec": {"replicas": size}})
    elif not annotations or size == 0:
        return
    if annotations:
        _patch(step, rs["metadata"]["name"], {"metadata": {"annotations": annotations}})


def _patch(step: DeploymentStep, name: str, patch: Object) -> None:
    merged = step.update.setdefault(name, {})
    for key, value in patch.items():
        if key == "metadata":
            merged.setdefault("metadata", {}).setdefault("annotations", {}).update(value["annotations"])
        else:
            merged.setdefault(key, {}).update(value)


def _clean_up(deployment: Object, old: Sequence[Object], new: Object | None, step: DeploymentStep) -> None:
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    if new is None:
        return
    empty = [
        rs
        for rs in old
        if not int(rs["spec"].get("replicas", 0))
        and not int((rs.get("status") or {}).get("replicas", 0))
        and "deletionTimestamp" not in rs["metadata"]
        and int(rs["metadata"].get("generation", 1)) <= int((rs.get("status") or {}).get("observedGeneration", 0))
    ]
    surplus = len([rs for rs in old if "deletionTimestamp" not in rs["metadata"]]) - int(limit)
    for rs in sorted(empty, key=lambda r: (_revision(r), created_s(r)))[: max(0, surplus)]:
        step.delete.append(rs["metadata"]["name"])


def _status(
    deployment: Object, new: Object | None, replica_sets: Sequence[Object], now_s: float, step: DeploymentStep
) -> Object:
    def total(sets: Sequence[Object], name: str) -> int:
        return sum(int((rs.get("status") or {}).get(name, 0)) for rs in sets)

    old_status = deployment.get("status") or {}
    replicas, available = total(replica_sets, "replicas"), total(replica_sets, "availableReplicas")
    wanted = sum(int(rs["spec"].get("replicas", 0)) for rs in replica_sets)
    updated = total([new] if new else [], "replicas")
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    counts = {
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": total(replica_sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }
    status |= {k: v for k, v in counts.items() if v}
    if old_status.get("collisionCount"):
        status["collisionCount"] = old_status["collisionCount"]
    status["conditions"] = _conditions(deployment, new, status, now_s, step)
    if not status["conditions"]:
        del status["conditions"]
    return status


def _conditions(
    deployment: Object, new: Object | None, status: Object, now_s: float, step: DeploymentStep
) -> list[Object]:
    now = format_time(now_s)
    conditions = [dict(c) for c in (deployment.get("status") or {}).get("conditions") or ()]
    bounds = _bounds(deployment)
    enough = status.get("availableReplicas", 0) >= bounds.desired - bounds.unavailable
    available = {
        "type": "Available",
        "status": "True" if enough else "False",
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
    }
    conditions = _update(conditions, available, now)
    progress = _progress(deployment, new, status, now_s, step)
    return _update(conditions, progress, now) if progress else conditions


def _progress(
    deployment: Object, new: Object | None, status: Object, now_s: float, step: DeploymentStep
) -> Object | None:
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    if deadline is None or deadline == 2**31 - 1:
        return None
    old = condition(deployment, "Progressing")
    subject = new or step.create
    name = subject["metadata"]["name"] if subject else ""
    what = f'ReplicaSet "{name}"' if name else f'Deployment "{deployment["metadata"]["name"]}"'

    def made(state: str, reason: str, message: str) -> Object:
        return {"type": "Progressing", "status": state, "reason": reason, "message": message}

    paused = bool(deployment["spec"].get("paused"))
    if paused:
        return made("Unknown", "DeploymentPaused", "Deployment is paused")
    if old is not None and old.get("reason") == "DeploymentPaused":
        return made("Unknown", "DeploymentResumed", "Deployment is resumed")
    if step.create is not None:
        return made("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    desired = int(deployment["spec"].get("replicas", 1))
    complete = (
        status.get("updatedReplicas", 0) == desired
        and status.get("replicas", 0) == desired
        and status.get("availableReplicas", 0) == desired
    )
    if complete:
        return made("True", "NewReplicaSetAvailable", f"{what} has successfully progressed.")
    if old is not None and old.get("reason") == "NewReplicaSetAvailable" and not _has_progressed(deployment, status):
        return dict(old)
    if _has_progressed(deployment, status) or old is None:
        return made("True", "ReplicaSetUpdated", f"{what} is progressing.") | {"lastUpdateTime": format_time(now_s)}
    waited_s = now_s - parse_time(old.get("lastUpdateTime") or format_time(now_s))
    if old.get("reason") == "ProgressDeadlineExceeded" or waited_s >= float(deadline):
        return made("False", "ProgressDeadlineExceeded", f"{what} has timed out progressing.")
    step.recheck_in_s = max(1.0, float(deadline) - waited_s)
    return dict(old)


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


def _update(conditions: list[Object], new: Object, now: str) -> list[Object]:
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    same = old is not None and all(old.get(k) == new[k] for k in ("status", "reason", "message"))
    if same and "lastUpdateTime" not in new:
        return conditions
    return set_condition(conditions, {"lastUpdateTime": now} | new, now)
