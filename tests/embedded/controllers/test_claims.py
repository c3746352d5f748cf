"""ResourceClaims of pods: one per use, named in the pod's status, given back at the end."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.controllers.claims import (
    ANNOTATION,
    compute_claim,
    compute_pod_claims,
    needs_claims,
    release,
)
from fairlead.kube.objects.devices import DELETE_PROTECTION

Object = dict[str, Any]
TEMPLATES = {"t": {"metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {}}}}}


def pod(*uses: str, phase: str = "Pending", **meta: Any) -> Object:
    claims = [{"name": u, "resourceClaimTemplateName": "t"} for u in uses]
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "pod"} | meta,
        "spec": {"resourceClaims": claims},
        "status": {"phase": phase},
    }


@given(st.lists(st.sampled_from("abcd"), unique=True, min_size=1), st.integers(0, 3))
def test_each_use_gets_one_claim_however_often_the_controller_dies(uses: list[str], survive: int) -> None:
    owner, owned = pod(*uses), []
    for _ in range(6):
        step = compute_pod_claims(owner, owned, TEMPLATES)
        for claim in step.create[: survive + 1]:
            made = copy.deepcopy(claim)
            made["metadata"]["name"] = f"c{len(owned)}"
            owned.append(made)
        if step.statuses is not None and len(step.create) <= survive + 1:
            owner["status"]["resourceClaimStatuses"] = step.statuses
    assert sorted(c["metadata"]["annotations"][ANNOTATION] for c in owned) == sorted(uses)
    told = {s["name"]: s["resourceClaimName"] for s in owner["status"]["resourceClaimStatuses"]}
    assert told == {c["metadata"]["annotations"][ANNOTATION]: c["metadata"]["name"] for c in owned}
    last = compute_pod_claims(owner, owned, TEMPLATES)
    assert not last.create and last.statuses is None


def test_a_missing_template_is_named_and_ended_pods_need_nothing() -> None:
    assert compute_pod_claims(pod("a"), [], {}).missing_template == "t"
    assert needs_claims(pod("a")) and not needs_claims(pod()) and not needs_claims(pod("a", phase="Failed"))


def claim(*consumers: str, owner: str = "") -> Object:
    references = [{"kind": "Pod", "name": "p", "uid": owner, "controller": True}] if owner else []
    reserved = [{"resource": "pods", "name": c, "uid": c} for c in consumers]
    return {
        "metadata": {"name": "c", "ownerReferences": references},
        "status": {"allocation": {"devices": {}}, "reservedFor": reserved},
    }


def test_ended_pods_leave_a_shared_claim_and_the_last_one_frees_it() -> None:
    running, ended = pod(phase="Running", uid="a"), pod(phase="Succeeded", uid="b")
    step = compute_claim(claim("a", "b", "gone"), {"a": running, "b": ended})
    assert [c["uid"] for c in step.reserved_for or ()] == ["a"] and not step.deallocate and not step.delete
    step = compute_claim(claim("b"), {"b": ended})
    assert step.reserved_for == [] and step.deallocate and not step.delete


def test_a_claim_made_for_a_pod_goes_with_it() -> None:
    ended = pod(phase="Succeeded", uid="a")
    step = compute_claim(claim("a", owner="a"), {"a": ended})
    assert step.delete and step.deallocate
    assert compute_claim(claim("a", owner="a"), {"a": pod(phase="Running", uid="a")}).reserved_for is None


def test_the_finalizer_goes_with_the_allocation_and_not_before() -> None:
    held = claim("a")
    held["metadata"]["finalizers"] = [DELETE_PROTECTION, "other"]
    assert not compute_claim(held, {"a": pod(phase="Running", uid="a")}).release
    assert compute_claim(held, {}).release
    release(held)
    assert held["metadata"]["finalizers"] == [DELETE_PROTECTION, "other"]
    about_to_be = {"metadata": held["metadata"], "status": {}}
    assert not compute_claim(about_to_be, {}).release
    deleted = {"metadata": {**held["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert compute_claim(deleted, {}).release
    release(deleted)
    assert deleted["metadata"]["finalizers"] == ["other"]
