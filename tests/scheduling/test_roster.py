"""Whose gang is looked at again, and whose is not, when what describes it comes or changes."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from fairlead.kube.objects import Job, Pod, PriorityClass
from fairlead.kube.objects.scheduling import PodGroup
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.verdict import Placed
from scheduling.planner_objects import NOW_S, decide_all, node, planner_with, pod


def group(name: str, size: int, **status: Any) -> PodGroup:
    shared = [{"name": "shared", "resourceClaimTemplateName": "t"}] if status.pop("shares", False) else []
    spec = {"schedulingPolicy": {"gang": {"minCount": size}}, "resourceClaims": shared}
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": status}, PodGroup
    )


def member(name: str, of: str) -> Pod:
    return pod(name, schedulingGroup={"podGroupName": of})


def touched(planner: Planner) -> set[str]:
    return {identity[2] for identity in planner.roster.take_changed()}


def placed(planner: Planner, now_s: float = NOW_S) -> set[str]:
    return {a.pod.name for v in decide_all(planner, now_s) if isinstance(v, Placed) for a in v.assignments}


def test_a_group_that_comes_late_concerns_its_own_pods_only() -> None:
    planner = planner_with(node("a"), *(member(f"{g}-{i}", g) for g in ("g", "h") for i in range(2)))
    assert not placed(planner)
    planner.see(group("g", 2))
    assert touched(planner) == {"g"}
    planner.see(group("g", 2))
    assert touched(planner) == set()
    planner.see(group("h", 2))
    planner.see(replace(group("g", 2), metadata=replace(group("g", 2).metadata, labels={"x": "y"})))
    planner.lose(group("g", 2))
    assert touched(planner) == {"g", "h"}
    planner.lose(member("g-0", "g"))
    planner.lose(member("g-1", "g"))
    planner.see(group("g", 2))
    assert touched(planner) == {"g"}  # as its pods went
    assert ("default", "g") not in planner.roster._naming


def test_claims_of_a_group_that_are_made_later_than_its_pods_are_noticed() -> None:
    planner = planner_with(node("a"), group("g", 1, shares=True), member("p", "g"))
    assert not placed(planner)
    made = [{"name": "shared", "resourceClaimName": "made"}]
    planner.see(group("g", 1, shares=True, resourceClaimStatuses=made))
    assert placed(planner) == {"p"}


def job(succeeded: int) -> Job:
    body = {
        "metadata": {"name": "j", "namespace": "default", "uid": "job", "annotations": {"fairlead.dev/gang": "true"}},
        "spec": {"parallelism": 2, "completions": 3},
        "status": {"succeeded": succeeded},
    }
    return msgspec.convert(body, Job)


def of_job(name: str) -> Pod:
    made = pod(name)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": True}
    body = msgspec.to_builtins(made)
    body["metadata"]["ownerReferences"] = [owner]
    return msgspec.convert(body, Pod)


def test_the_last_pods_of_a_job_do_not_wait_for_more() -> None:
    planner = planner_with(node("a"), job(0), of_job("j-2"))
    assert not placed(planner)
    planner.see(job(2))
    assert placed(planner) == {"j-2"}


def test_a_pod_that_a_job_adopts_is_of_its_gang() -> None:
    planner = planner_with(node("a", cpu="0"), job(2), pod("j-2"))
    decide_all(planner)
    planner.see(of_job("j-2"))
    assert [gang.kind for gang in planner.gangs.values()] == ["Job"]


def test_a_priority_class_that_comes_after_the_group_that_names_it_counts() -> None:
    named = group("g", 1)
    named = replace(named, spec=replace(named.spec, priority_class_name="high"))
    planner = planner_with(node("a", cpu="1"), pod("first", cpu="1", priority=5), named, member("p", "g"))
    assert planner.gangs["PodGroup default/g"].priority == 0
    planner.see(msgspec.convert({"metadata": {"name": "high"}, "value": 9}, PriorityClass))
    assert placed(planner) == {"p"}


def test_a_pod_of_a_lost_node_that_was_bound_elsewhere_stays_there() -> None:
    planner = planner_with(node("a"), node("b", cpu="0"), pod("p"))
    decide_all(planner)
    planner.lose(node("a"))
    planner.see(pod("p", bound="b"))
    planner.see(node("a"))
    planner.intake.settle()
    assert planner.fleet.pods["pod-default-p"].row == planner.fleet.row_of["b"]
