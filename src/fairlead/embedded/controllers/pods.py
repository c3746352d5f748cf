"""What workload controllers know of pods: readiness, availability, which to delete first, and pods made of templates.

Objects are decoded JSON: templates must reach the pod with every field they have, known to Fairlead or not.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cmp_to_key
from typing import Any

from fairlead.clock import parse_time

Object = dict[str, Any]

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of a type in `status.conditions`, or None."""
    for c in (obj.get("status") or {}).get("conditions") or ():
        if c.get("type") == kind:
            return c  # type: ignore[no-any-return]
    return None


def phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def is_active(pod: Mapping[str, Any]) -> bool:
    """Neither ended nor being deleted."""
    return phase(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)


def is_ready(pod: Mapping[str, Any]) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready.get("status") == "True"


def available_in_s(pod: Mapping[str, Any], min_ready_s: float, now_s: float) -> float | None:
    """Seconds until the pod has been ready for `min_ready_s`: 0 when it has, None while it is not ready."""
    ready = condition(pod, "Ready")
    if ready is None or ready.get("status") != "True":
        return None
    since = ready.get("lastTransitionTime")
    if not min_ready_s:
        return 0.0
    if not since:
        return min_ready_s
    return max(0.0, parse_time(since) + min_ready_s - now_s)


def created_s(obj: Mapping[str, Any]) -> float:
    stamp = obj["metadata"].get("creationTimestamp")
    return parse_time(stamp) if stamp else 0.0


def restarts(pod: Mapping[str, Any]) -> int:
    return max((c.get("restartCount", 0) for c in (pod.get("status") or {}).get("containerStatuses") or ()), default=0)


def deletion_order(pods: Iterable[Object], now_s: float, related: Iterable[Object] | None = None) -> list[Object]:
    """Pods in the order in which a scale-down gives them up, as the ReplicaSet controller ranks them: unassigned,
    pending, not ready, cheaper by annotation, more of `related` (by default, of these) on the same node, ready for a
    shorter time, more restarts, younger. Ages are compared by their order of magnitude, then by uid."""
    listed = list(pods)
    per_node = Counter(p["spec"].get("nodeName", "") for p in (listed if related is None else related))

    def rank(pod: Object) -> tuple[Any, ...]:
        return (
            bool(pod["spec"].get("nodeName")),
            {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
            is_ready(pod),
            deletion_cost(pod),
            -per_node[pod["spec"].get("nodeName", "")],
        )

    def compare(left: Object, right: Object) -> int:
        a, b = rank(left), rank(right)
        if a != b:
            return -1 if a < b else 1
        by_readiness = _compare_ages(_ready_since_s(left), _ready_since_s(right), left, right, now_s)
        if is_ready(left) and by_readiness:
            return by_readiness
        if restarts(left) != restarts(right):
            return restarts(right) - restarts(left)
        return _compare_ages(created_s(left), created_s(right), left, right, now_s) or _compare_uids(left, right)

    return sorted(listed, key=cmp_to_key(compare))


def _ready_since_s(pod: Mapping[str, Any]) -> float:
    ready = condition(pod, "Ready")
    return parse_time(ready["lastTransitionTime"]) if ready and ready.get("lastTransitionTime") else 0.0


def _compare_ages(left_s: float, right_s: float, left: Object, right: Object, now_s: float) -> int:
    if left_s == right_s:
        return 0

    def magnitude(since_s: float) -> int:
        age_ns = (now_s - since_s) * 1e9
        return int(math.log2(age_ns)) if age_ns > 1 else -1

    return magnitude(left_s) - magnitude(right_s) or _compare_uids(left, right)


def _compare_uids(left: Object, right: Object) -> int:
    a, b = str(left["metadata"]["uid"]), str(right["metadata"]["uid"])
    return (a > b) - (a < b)


def owner_reference(owner: Mapping[str, Any], api_version: str, kind: str) -> Object:
    """The controller reference from a child to its owner."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference that controls an object, or None for an orphan."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return reference  # type: ignore[no-any-return]
    return None


def pod_from_template(template: Mapping[str, Any], owner: Mapping[str, Any], reference: Object) -> Object:
    """A pod as a workload controller creates it; give it a name or keep the generateName."""
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{owner['metadata']['name'][:57]}-",
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": dict(meta.get("annotations") or {}),
            "finalizers": list(meta.get("finalizers") or ()),
            "ownerReferences": [reference],
        },
        "spec": copy.deepcopy(template.get("spec") or {}),
    }


def set_condition(conditions: list[Object], new: Object, now: str) -> list[Object]:
    """Conditions with one replaced; its lastTransitionTime stays while the status stays."""
    result = []
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    kept = old is not None and old.get("status") == new["status"]
    stamped = new | {"lastTransitionTime": old["lastTransitionTime"] if kept and old else now}
    for c in conditions:
        result.append(stamped if c["type"] == new["type"] else c)
    if old is None:
        result.append(stamped)
    return result


def deletion_cost(pod: Object) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0
