"""ReplicaSet decisions: how many, which ones first, and what is said when it fails."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.clock import format_time
from fairlead.embedded.controllers.adoption import compute_claims
from fairlead.embedded.controllers.pods import DELETION_COST, deletion_order
from fairlead.embedded.controllers.replica_set import compute_replica_set, with_failure

Object = dict[str, Any]
T0 = 1_700_000_000.0


def pod(name: str, phase: str = "Running", ready_s: float | None = T0 - 100, **meta: Any) -> Object:
    conditions = []
    if ready_s is not None:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": format_time(ready_s)}]
    node = meta.pop("node", "n1")
    made = {"name": name, "uid": name, "namespace": "default", "creationTimestamp": format_time(T0 - 1000)}
    return {
        "metadata": made | meta,
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions},
    }


def replica_set(replicas: int, **spec: Any) -> Object:
    meta = {"name": "rs", "namespace": "default", "uid": "rs", "generation": 2}
    template = {"metadata": {"labels": {"app": "x"}}}
    return {"metadata": meta, "spec": {"replicas": replicas, "template": template} | spec}


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3), st.integers(0, 3))
def test_what_is_missing_is_made_and_what_is_surplus_goes(want: int, have: int, ended: int, leaving: int) -> None:
    pods = [pod(f"a{i}") for i in range(have)]
    pods += [pod(f"e{i}", "Failed") for i in range(ended)]
    pods += [pod(f"d{i}", deletionTimestamp=format_time(T0)) for i in range(leaving)]
    step = compute_replica_set(replica_set(want), pods, T0)
    assert step.create == max(0, want - have) and len(step.delete) == max(0, have - want)
    assert all(name.startswith("a") for name in step.delete)
    assert step.status["replicas"] == have and step.status["terminatingReplicas"] == leaving
    assert step.status["observedGeneration"] == 2


def test_the_order_of_giving_up_is_by_one_criterion_after_the_other() -> None:
    worst_first = [
        pod("unassigned", "Pending", None, node=""),
        pod("pending", "Pending", None),
        pod("unknown", "Unknown", None),
        pod("unready", ready_s=None),
        pod("cheap", annotations={DELETION_COST: "-5"}),
        pod("crowded", node="n2", ready_s=T0 - 5000),
        pod("fresh", ready_s=T0 - 10),
        pod("old", ready_s=T0 - 10_000),
    ]
    related = [*worst_first, pod("neighbour", node="n2"), *(pod(f"m{i}", node="n2") for i in range(9))]
    for shuffled in itertools.islice(itertools.permutations(worst_first), 0, 40320, 977):
        ordered = [p["metadata"]["name"] for p in deletion_order(shuffled, T0, related)]
        assert ordered == [p["metadata"]["name"] for p in worst_first]


def test_ages_of_the_same_magnitude_are_alike() -> None:
    left, right = pod("a", ready_s=T0 - 1000), pod("b", ready_s=T0 - 1001)
    assert [p["metadata"]["name"] for p in deletion_order([right, left], T0)] == ["a", "b"]
    assert [p["metadata"]["name"] for p in deletion_order([pod("z", ready_s=T0 - 3), left], T0)] == ["z", "a"]


def test_availability_is_looked_at_again_when_the_first_pod_gets_there() -> None:
    pods = [pod("a", ready_s=T0 - 4), pod("b", ready_s=T0 - 40), pod("c", ready_s=T0 - 1)]
    step = compute_replica_set(replica_set(3, minReadySeconds=10), pods, T0)
    assert step.status["availableReplicas"] == 1 and step.status["readyReplicas"] == 3
    assert step.recheck_in_s == 6


def test_the_first_failure_of_a_row_stays_told() -> None:
    first = with_failure({"replicas": 0}, "FailedCreate", "no", "t1")
    second = with_failure(first, "FailedCreate", "still no", "t2")
    assert second["conditions"] == [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no",
         "lastTransitionTime": "t1"}
    ]  # fmt: skip
    assert with_failure(second, "", "", "t3") == {"replicas": 0}


def test_who_belongs_to_an_owner() -> None:
    def child(name: str, matches: bool, owner: str | None = None, **meta: Any) -> Object:
        references = [{"uid": owner, "controller": True}] if owner else []
        return {"metadata": {"name": name, "match": matches, "ownerReferences": references} | meta}

    children = [
        child("own", True, "rs"),
        child("strayed", False, "rs"),
        child("orphan", True),
        child("stranger", False),
        child("foreign", True, "other"),
        child("leaving", True, deletionTimestamp="now"),
    ]

    def names(objects: list[Object]) -> list[str]:
        return [o["metadata"]["name"] for o in objects]

    owner = replica_set(1)
    claims = compute_claims(owner, children, lambda o: bool(o["metadata"]["match"]))
    assert (names(claims.own), names(claims.adopt), names(claims.release)) == (["own"], ["orphan"], ["strayed"])
    owner["metadata"]["deletionTimestamp"] = "now"
    claims = compute_claims(owner, children, lambda o: bool(o["metadata"]["match"]))
    assert (names(claims.own), names(claims.adopt), names(claims.release)) == (["own"], [], [])
