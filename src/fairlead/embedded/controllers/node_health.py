"""Node lifecycle: what a node's lease says of its health, its taints, and which pods to evict when. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.clock import format_time, parse_time
from fairlead.embedded.controllers.pods import Object, condition, is_deleting, set_condition

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_HEALTH_TAINTS = (NOT_READY, UNREACHABLE)
_PRESSURE_TAINTS = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
"""Condition -> the NoSchedule taint that it brings while it is True."""
_KUBELET_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class NodeStep:
    """`conditions` and `taints` are whole lists to write, None where nothing changes; `recheck_in_s` is when the lease
    runs out if it is not renewed."""

    conditions: list[Object] | None
    taints: list[Object] | None
    recheck_in_s: float


def compute_node(node: Object, lease: Object | None, now_s: float, grace_s: float) -> NodeStep:
    """A node whose lease (or, without one, whose status) is older than `grace_s` is Unknown and tainted unreachable; a
    node that says it is not ready is tainted not-ready."""
    renewed_s = _last_sign(node, lease)
    silent = now_s - renewed_s > grace_s
    conditions = list((node.get("status") or {}).get("conditions") or ())
    changed = None
    if silent:
        changed = _unknown(conditions, format_time(now_s))
    ready = next((c["status"] for c in changed or conditions if c["type"] == "Ready"), "")
    wanted = {"True": "", "False": NOT_READY, "Unknown": UNREACHABLE}.get(ready, "")
    taints = _taints(node, _wanted_taints(node, changed or conditions, wanted), format_time(now_s))
    recheck_s = max(0.5, renewed_s + grace_s - now_s) if not silent else grace_s
    return NodeStep(changed if changed != conditions else None, taints, recheck_s)


def eviction_in_s(pod: Object, node: Object, now_s: float) -> float | None:
    """Seconds until a pod must leave its node because of a NoExecute taint: 0 when now, None when never."""
    if is_deleting(pod):
        return None
    soonest: float | None = None
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") != "NoExecute":
            continue
        tolerating = next((t for t in pod["spec"].get("tolerations") or () if _tolerates(t, taint)), None)
        if tolerating is None:
            return 0.0
        if tolerating.get("tolerationSeconds") is None:
            continue
        added = taint.get("timeAdded")
        left_s = max(0.0, (parse_time(added) if added else now_s) + float(tolerating["tolerationSeconds"]) - now_s)
        soonest = left_s if soonest is None else min(soonest, left_s)
    return soonest


def _last_sign(node: Object, lease: Object | None) -> float:
    ready = condition(node, "Ready")
    signs = [parse_time(node["metadata"]["creationTimestamp"])]
    if lease is not None and lease["spec"].get("renewTime"):
        signs.append(parse_time(lease["spec"]["renewTime"]))
    # Once this controller wrote Unknown, the heartbeat time is still the kubelet's own.
    if ready is not None and ready.get("lastHeartbeatTime"):
        signs.append(parse_time(ready["lastHeartbeatTime"]))
    return max(signs)


def _unknown(conditions: Sequence[Object], now: str) -> list[Object]:
    result = list(conditions)
    for kind in _KUBELET_CONDITIONS:
        old = next((c for c in conditions if c["type"] == kind), None)
        if old is not None and old["status"] == "Unknown":
            continue
        made = {
            "type": kind,
            "status": "Unknown",
            "reason": "NodeStatusUnknown" if old else "NodeStatusNeverUpdated",
            "message": "Kubelet stopped posting node status." if old else "Kubelet never posted node status.",
            "lastHeartbeatTime": (old or {}).get("lastHeartbeatTime", now),
        }
        result = set_condition(result, made, now)
    return result


def _wanted_taints(node: Object, conditions: Sequence[Object], health: str) -> list[tuple[str, str]]:
    """Key and effect of every taint that the node's state brings."""
    wanted = [(health, effect) for effect in ("NoSchedule", "NoExecute") if health]
    for c in conditions:
        if c["type"] in _PRESSURE_TAINTS and c["status"] == "True":
            wanted.append((_PRESSURE_TAINTS[c["type"]], "NoSchedule"))
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    return wanted


def _taints(node: Object, wanted: Sequence[tuple[str, str]], now: str) -> list[Object] | None:
    """The node's whole list of taints, or None where it is right."""
    managed = {*_HEALTH_TAINTS, *_PRESSURE_TAINTS.values(), UNSCHEDULABLE}
    have = list((node.get("spec") or {}).get("taints") or ())
    kept = [t for t in have if t["key"] not in managed or (t["key"], t["effect"]) in wanted]
    known = {(t["key"], t["effect"]) for t in kept}
    kept += [{"key": k, "effect": e, "timeAdded": now} for k, e in wanted if (k, e) not in known]
    return kept if kept != have else None


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")
