"""What a status says of what is seen: truth in every state, and nothing that is only wished."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api import ModelService
from fairlead.api.model_service import RolloutStatus
from fairlead.serving.observed import Member, Replica
from fairlead.serving.status import Problem, RoleSeen, Standing, compute_status

NOW = "2026-01-01T00:00:00Z"


def service(**spec: Any) -> ModelService:
    raw = {
        "metadata": {"name": "chat", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {"model": {"name": "m"}, **spec},
    }
    return msgspec.convert(raw, ModelService)


def replica(n: int, *, ready: bool = True, revision: str = "new", role: Any = "unified", **more: Any) -> Replica:
    member = Member(f"r{n}", f"u{n}", node="a" if ready else "", ready=ready)
    return Replica(f"chat-{revision}-{n}", role, revision, (member,), **more)


def standing(replicas: list[Replica], desired: int = 2, **more: Any) -> Standing:
    return Standing(
        service(), [RoleSeen("unified", desired, 1, replicas)], revision="new", update_revision="new", **more
    )


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_all_is_well() -> None:
    status = compute_status(standing([replica(0), replica(1)]), NOW)
    assert {state for state, _ in conditions(status).values()} == {"True"}
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 2)
    assert status["observedGeneration"] == 3 and all(c["observedGeneration"] == 3 for c in status["conditions"])
    json.dumps(status)
    msgspec.convert(status, type(service().status))


def test_zeros_are_written_where_kubectl_reads_them() -> None:
    status = compute_status(standing([], 0), NOW)
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (0, 0, 0)
    assert status["roles"][0]["ready"] == 0
    assert conditions(status)["Ready"] == ("True", "AllReplicasReady")


def test_a_spec_that_cannot_be_served_is_not_ready_though_the_former_version_serves() -> None:
    problem = Problem("TooLittleMemory", "weights 141 GB do not fit: take tensor 8")
    status = compute_status(standing([replica(0), replica(1)], problem=problem), NOW)
    assert conditions(status)["Ready"] == ("False", "TooLittleMemory")
    assert conditions(status)["EndpointsReady"][0] == "True", "requests are answered all the same"
    message = next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
    assert message.endswith("the former version still serves")


def test_why_nothing_serves_is_told() -> None:
    stuck = replace(replica(0, ready=False), members=(Member("p", "u", unschedulable="0/2 nodes have a GPU"),))
    status = compute_status(standing([stuck], 1, trouble="p: 0/2 nodes have a GPU"), NOW)
    assert conditions(status) == {
        "Placed": ("False", "Unschedulable"), "ModelReady": ("False", "LoadFailed"),
        "EndpointsReady": ("False", "ReplicaInTrouble"), "RolledOut": ("False", "InProgress"),
        "Ready": ("False", "ReplicaInTrouble"),
    }  # fmt: skip
    assert all("GPU" in c["message"] for c in status["conditions"] if c["type"] in ("Placed", "Ready"))


def test_a_rollout_that_was_taken_back_is_not_rolled_out_and_yet_ready() -> None:
    rollout = RolloutStatus(phase="Reverted", message="TTFT +3.1 %")
    seen = replace(standing([replica(0, revision="old"), replica(1, revision="old")]), rollout=rollout, revision="old")
    found = conditions(compute_status(seen, NOW))
    assert found["RolledOut"] == ("False", "Reverted") and found["Ready"][0] == "True"


def test_replicas_that_leave_do_not_count() -> None:
    status = compute_status(standing([replica(0), replica(1, draining_s=5.0)]), NOW)
    assert status["replicas"] == 1 and status["roles"][0]["draining"] == 1
    assert conditions(status)["EndpointsReady"] == ("False", "WaitingForReplicas")


def test_roles_count_in_complete_sets() -> None:
    decode = [replica(n, role="decode") for n in range(5)]
    roles = [RoleSeen("prefill", 2, 1, [replica(9, role="prefill")]), RoleSeen("decode", 6, 3, decode)]
    status = compute_status(Standing(service(replicas=2), roles, revision="new", update_revision="new"), NOW)
    assert status["replicas"] == 1 and status["readyReplicas"] == 1
    message = next(c["message"] for c in status["conditions"] if c["type"] == "EndpointsReady")
    assert message == "1 of 2 prefill, 5 of 6 decode replicas are ready"


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    first = compute_status(standing([replica(0)]), NOW)
    again = replace(standing([replica(0), replica(1)]), service=_with_status(first))
    second = {c["type"]: c["lastTransitionTime"] for c in compute_status(again, "2026-01-02T00:00:00Z")["conditions"]}
    assert second["ModelReady"] == NOW and second["EndpointsReady"] == "2026-01-02T00:00:00Z"


def _with_status(status: Any) -> ModelService:
    return msgspec.convert({**msgspec.to_builtins(service()), "status": status}, ModelService)


@given(st.integers(0, 4), st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=5))
def test_ready_is_never_said_of_too_few(desired: int, states: list[tuple[bool, bool, bool]]) -> None:
    replicas = [
        replica(n, ready=ready, revision="new" if new else "old", draining_s=1.0 if leaves else None)
        for n, (ready, new, leaves) in enumerate(states)
    ]
    status = compute_status(standing(replicas, desired), NOW)
    serving = sum(r.is_ready for r in replicas)
    assert (conditions(status)["Ready"][0] == "True") == (serving >= desired)
    if conditions(status)["RolledOut"][0] == "True":
        assert all(r.revision == "new" and r.is_ready for r in replicas if not r.is_leaving)
    assert status["readyReplicas"] <= status["replicas"]


def test_what_speaks_against_a_template_that_can_run_is_in_the_status() -> None:
    status = compute_status(standing([replica(0), replica(1)], warnings=("b: it is passed over", "a")), NOW)
    assert status["warnings"] == ["b: it is passed over", "a"]
    assert conditions(status)["Ready"][0] == "True", "it can run"
    assert "warnings" not in compute_status(standing([replica(0)], 1), NOW)
