"""Deployment: ReplicaSets to create, resize and delete, and the status. Pure; the Deployment controller's results."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.controllers.hashing import template_hash
from fairlead.embedded.controllers.pods import Object, created_s, is_deleting, owner_reference
from fairlead.embedded.controllers.rolling import (
    Bounds,
    Set,
    compute_new_size,
    compute_old_sizes,
    compute_proportional,
    resolve_bounds,
)
from fairlead.embedded.controllers.rollout_status import compute_status, is_complete

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
    annotate: dict[str, str] = field(default_factory=dict)
    """Annotations that the Deployment itself is to have (its revision)."""
    status: Object = field(default_factory=dict)
    recheck_in_s: float | None = None


def compute_deployment(
    deployment: Object, replica_sets: Sequence[Object], old_pods_alive: int, now_s: float
) -> DeploymentStep:
    """One step. `replica_sets` are those it controls; `old_pods_alive` counts pods of other templates not yet ended or
    gone (the Recreate strategy waits for them)."""
    step = DeploymentStep()
    new = find_new(deployment, replica_sets)
    old = [rs for rs in replica_sets if rs is not new]
    bounds = _bounds(deployment)
    is_rolling = False
    if not is_deleting(deployment):
        is_rolling = _act(deployment, new, old, bounds, old_pods_alive, step)
    created = step.create["metadata"]["name"] if step.create else ""
    step.status, step.recheck_in_s = compute_status(
        deployment, new or step.create, [*replica_sets, *([step.create] if step.create else [])], bounds, now_s,
        created=created, is_rolling=is_rolling,
    )  # fmt: skip
    return step


def _act(
    deployment: Object,
    new: Object | None,
    old: Sequence[Object],
    bounds: Bounds,
    old_pods_alive: int,
    step: DeploymentStep,
) -> bool:
    """Fill in what to do to the ReplicaSets; returns whether a rollout is going on (or has ended) rather than a mere
    change of size or a pause."""
    paused = bool(deployment["spec"].get("paused"))
    revision = _next_revision(old, new)
    if new is not None:
        _annotate(deployment, new, revision, step)
        _annotate_deployment(deployment, revision, step)
    if paused or _is_scaling_event(bounds, [*old, *([new] if new else [])]):
        _scale(deployment, bounds, new, old, step)
        if paused:
            _clean_up(deployment, old, step)
        return False
    if _is_recreate(deployment):
        _recreate(deployment, new, old, bounds, old_pods_alive, revision, step)
    elif new is None:
        step.create = _new_replica_set(deployment, old, revision)
    else:
        _roll(new, old, bounds, step)
    if step.create is not None:
        _annotate_deployment(deployment, revision, step)
    if is_complete(deployment, deployment.get("status") or {}):
        _clean_up(deployment, old, step)
    return True


def find_new(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The oldest ReplicaSet with exactly the Deployment's template (its hash label aside)."""
    wanted = deployment["spec"]["template"]
    for rs in sorted(replica_sets, key=lambda r: (created_s(r), r["metadata"]["name"])):
        if is_same_template(wanted, rs["spec"]["template"]):
            return rs
    return None


def is_same_template(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two pod templates differ in nothing but the hash label."""
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


def _is_recreate(deployment: Object) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type") == "Recreate")


def _bounds(deployment: Object) -> Bounds:
    desired = int(deployment["spec"].get("replicas", 1))
    if _is_recreate(deployment):
        return Bounds(desired, 0, desired)
    strategy = deployment["spec"].get("strategy") or {}
    return resolve_bounds(desired, strategy.get("rollingUpdate") or {})


def _copied_annotations(deployment: Object) -> dict[str, str]:
    return {k: v for k, v in (deployment["metadata"].get("annotations") or {}).items() if k not in _NOT_COPIED}


def _new_replica_set(deployment: Object, existing: Sequence[Object], revision: int) -> Object:
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


def _annotate_deployment(deployment: Object, revision: int, step: DeploymentStep) -> None:
    have = (deployment["metadata"].get("annotations") or {}).get(REVISION)
    if have != str(revision):
        step.annotate = {REVISION: str(revision)}


def _recreate(
    deployment: Object,
    new: Object | None,
    old: Sequence[Object],
    bounds: Bounds,
    old_pods_alive: int,
    revision: int,
    step: DeploymentStep,
) -> None:
    if any(_size(rs) for rs in old):
        for rs in old:
            _set_size(rs, 0, bounds, step)
    elif old_pods_alive:
        return
    elif new is None:
        step.create = _new_replica_set(deployment, old, revision)
    else:
        _set_size(new, bounds.desired, bounds, step)


def _roll(new: Object, old: Sequence[Object], bounds: Bounds, step: DeploymentStep) -> None:
    new_set, old_sets = _as_set(new), [_as_set(rs) for rs in old if _size(rs)]
    size = compute_new_size(new_set, old_sets, bounds)
    if size != new_set.spec:
        _set_size(new, size, bounds, step)
        return
    sizes = compute_old_sizes(new_set, old_sets, bounds)
    for rs in old:
        if rs["metadata"]["name"] in sizes:
            _set_size(rs, sizes[rs["metadata"]["name"]], bounds, step)


def _size(rs: Object) -> int:
    return int(rs["spec"].get("replicas", 0))


def _is_scaling_event(bounds: Bounds, replica_sets: Sequence[Object]) -> bool:
    for rs in replica_sets:
        desired = (rs["metadata"].get("annotations") or {}).get(DESIRED)
        if _size(rs) and desired is not None and desired != str(bounds.desired):
            return True
    return False


def _scale(deployment: Object, bounds: Bounds, new: Object | None, old: Sequence[Object], step: DeploymentStep) -> None:
    active = [rs for rs in [*old, *([new] if new else [])] if _size(rs)]
    if len(active) <= 1:
        target = active[0] if active else (new or max(old, key=created_s, default=None))
        if target is not None:
            _set_size(target, bounds.desired, bounds, step)
        return
    if new is not None and _is_saturated(new, bounds):
        for rs in old:
            _set_size(rs, 0, bounds, step)
        return
    if _is_recreate(deployment):
        return
    before = {
        rs["metadata"]["name"]: int((rs["metadata"].get("annotations") or {}).get(MAX, "0") or 0) for rs in active
    }
    sizes = compute_proportional([_as_set(rs) for rs in active], bounds.desired, bounds.surge, before)
    for rs in active:
        _set_size(rs, sizes.get(rs["metadata"]["name"], _size(rs)), bounds, step)


def _is_saturated(new: Object, bounds: Bounds) -> bool:
    return (
        _size(new) == bounds.desired
        and (new["metadata"].get("annotations") or {}).get(DESIRED) == str(bounds.desired)
        and int((new.get("status") or {}).get("availableReplicas", 0)) == bounds.desired
    )


def _set_size(rs: Object, size: int, bounds: Bounds, step: DeploymentStep) -> None:
    have = rs["metadata"].get("annotations") or {}
    annotations = {k: v for k, v in _size_annotations(bounds).items() if have.get(k) != v}
    if _size(rs) != size:
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


def _clean_up(deployment: Object, old: Sequence[Object], step: DeploymentStep) -> None:
    """Old sets beyond the history limit go, lowest revision first; one that still has something to do stays."""
    alive = sorted((rs for rs in old if not is_deleting(rs)), key=lambda rs: (_revision(rs), created_s(rs)))
    surplus = len(alive) - int(deployment["spec"].get("revisionHistoryLimit", 10))
    for rs in alive[: max(0, surplus)]:
        status = rs.get("status") or {}
        settled = rs["metadata"].get("generation", 0) <= status.get("observedGeneration", 0)
        if not status.get("replicas", 0) and not _size(rs) and settled:
            step.delete.append(rs["metadata"]["name"])
