"""What silence, pressure and cordons make of a node, and when pods have to leave it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.clock import format_time
from fairlead.embedded.controllers.node_health import compute_node, eviction_in_s

Object = dict[str, Any]
T0 = 1_700_000_000.0


def node(ready: str = "True", taints: list[Object] | None = None, **conditions: str) -> Object:
    beat = format_time(T0)
    made = [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat, "lastTransitionTime": beat}]
    made += [{"type": k, "status": v, "lastHeartbeatTime": beat} for k, v in conditions.items()]
    return {
        "metadata": {"name": "n", "creationTimestamp": format_time(T0 - 100)},
        "spec": {"taints": taints or []},
        "status": {"conditions": made},
    }


def lease(renewed_s: float) -> Object:
    return {"spec": {"renewTime": format_time(renewed_s)}}


def taints(step: Any) -> list[tuple[str, str]]:
    return [(t["key"].partition("/")[2], t["effect"]) for t in step.taints or ()]


def test_a_renewed_lease_keeps_a_node_ready() -> None:
    step = compute_node(node(), lease(T0 + 100), T0 + 120, 40)
    assert (step.conditions, step.taints, step.recheck_in_s) == (None, None, 20)


def test_silence_makes_all_conditions_unknown_and_taints_both_ways() -> None:
    step = compute_node(node(MemoryPressure="False"), lease(T0), T0 + 41, 40)
    assert step.conditions is not None
    told = {c["type"]: (c["status"], c["reason"], c["message"]) for c in step.conditions}
    stopped = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    never = ("Unknown", "NodeStatusNeverUpdated", "Kubelet never posted node status.")
    assert told == {"Ready": stopped, "MemoryPressure": stopped, "DiskPressure": never, "PIDPressure": never}
    assert taints(step) == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]


def test_coming_back_removes_the_taints_and_leaves_those_of_others() -> None:
    mine = [{"key": "node.kubernetes.io/unreachable", "effect": e} for e in ("NoSchedule", "NoExecute")]
    theirs = {"key": "gpu", "effect": "NoSchedule", "value": "x"}
    step = compute_node(node(taints=[*mine, theirs]), lease(T0), T0, 40)
    assert step.taints == [theirs]


@pytest.mark.parametrize(
    "conditions, expected",
    [
        ({"MemoryPressure": "True"}, [("memory-pressure", "NoSchedule")]),
        ({"DiskPressure": "True", "PIDPressure": "Unknown"}, [("disk-pressure", "NoSchedule")]),
        ({"NetworkUnavailable": "True"}, [("network-unavailable", "NoSchedule")]),
    ],
)
def test_pressure_keeps_new_pods_away(conditions: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert taints(compute_node(node(**conditions), lease(T0), T0, 40)) == expected


def test_a_cordon_is_a_taint_and_lifting_it_removes_it() -> None:
    cordoned = node()
    cordoned["spec"]["unschedulable"] = True
    step = compute_node(cordoned, lease(T0), T0, 40)
    assert taints(step) == [("unschedulable", "NoSchedule")]
    assert compute_node(node(taints=step.taints), lease(T0), T0, 40).taints == []


@given(st.sampled_from(["True", "False", "Unknown"]), st.integers(0, 90), st.booleans())
def test_a_second_look_changes_nothing(ready: str, silent_s: int, cordoned: bool) -> None:
    before = node(ready)
    before["spec"]["unschedulable"] = cordoned
    now_s = T0 + silent_s
    step = compute_node(before, lease(T0), now_s, 40)
    after = {**before, "spec": {**before["spec"]}, "status": {**before["status"]}}
    if step.conditions is not None:
        after["status"]["conditions"] = step.conditions
    if step.taints is not None:
        after["spec"]["taints"] = step.taints
    again = compute_node(after, lease(T0), now_s, 40)
    assert (again.conditions, again.taints) == (None, None)


def pod(*tolerations: Object) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"tolerations": list(tolerations)}}


def test_pods_leave_when_what_they_tolerate_has_passed() -> None:
    away = {"key": "k", "effect": "NoExecute", "value": "v", "timeAdded": format_time(T0)}
    tainted = node(taints=[away])
    for_a_while: Object = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    assert eviction_in_s(pod(), tainted, T0) == 0
    assert eviction_in_s(pod(for_a_while), tainted, T0 + 10) == 20
    assert eviction_in_s(pod(for_a_while), tainted, T0 + 50) == 0
    assert eviction_in_s(pod({"operator": "Exists"}), tainted, T0) is None
    assert eviction_in_s(pod({"key": "k", "value": "v"}), tainted, T0) is None
    assert eviction_in_s(pod({"key": "k", "value": "other"}), tainted, T0) == 0
    assert eviction_in_s(pod({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), tainted, T0) == 0
    # Of several tolerations for one taint the first counts.
    assert eviction_in_s(pod(for_a_while, {"operator": "Exists"}), tainted, T0) == 30
    assert eviction_in_s(pod(), node(taints=[away | {"effect": "NoSchedule"}]), T0) is None


def test_a_never_seen_node_is_silent_since_its_creation() -> None:
    bare = {"metadata": {"name": "n", "creationTimestamp": format_time(T0)}, "spec": {}}
    step = compute_node(bare, None, T0 + 10, 40)
    assert (step.conditions, step.taints, step.recheck_in_s) == (None, None, 30)
    step = compute_node(bare, None, T0 + 41, 40)
    assert taints(step) == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
