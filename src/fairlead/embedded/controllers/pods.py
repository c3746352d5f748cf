"""What workload controllers know of pods: readiness, availability, which to delete first, and pods made of templates.

Objects are decoded JSON: templates must reach the pod with every field they have, known to Fairlead or not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
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


def deletion_order(pods: Iterable[Object]) -> list[Object]:
    """Pods in the order in which a scale-down gives them up, as the ReplicaSet controller ranks them: unassigned,
    pending, not ready, cheaper by annotation, more of the set on the same node, ready for a shorter time, more
    restarts, younger."""
    listed = list(pods)
    per_node: dict[str, int] = {}
    for pod in listed:
        node = pod["spec"].get("nodeName", "")
        per_node[node] = per_node.get(node, 0) + 1

    def rank(pod: Object) -> tuple[Any, ...]:
        ready = condition(pod, "Ready")
        since = parse_time(ready["lastTransitionTime"]) if ready and ready.get("lastTransitionTime") else 0.0
        return (
            bool(pod["spec"].get("nodeName")),
            {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
            is_ready(pod),
            _deletion_cost(pod),
            -per_node[pod["spec"].get("nodeName", "")],
            -since if is_ready(pod) else 0.0,
            -restarts(pod),
            -created_s(pod),
            pod["metadata"]["name"],
        )

    return sorted(listed, key=rank)


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


def _deletion_cost(pod: Object) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0
