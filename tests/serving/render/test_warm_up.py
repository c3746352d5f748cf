"""Who is warmed up before requests come, with what, and when it is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.kube.objects import Pod
from fairlead.serving.render.warm_up import WARMED_UP, started_at, wants_warm_up, warm_up_calls, warmed_up
from fairlead.serving.resolve import resolve_service
from serving.resolve.services import FACTS, VLLM, service

SPREAD: dict[str, Any] = {"parallelism": {"tensor": 4, "hosts": 2}}
PREFIX: dict[str, Any] = {"warmUp": {"prompts": ["You are", "Hello"]}}
SPLIT: dict[str, Any] = {"roles": [{"name": "prefill"}, {"name": "decode"}]}


def gates(**spec: Any) -> list[Any]:
    """Of the leader, then of the workers, by role."""
    resolved = resolve_service(service(**spec), (), FACTS)
    ways = [role.ways[0] for role in resolved.roles.values()]
    return [template["spec"].get("readinessGates") for way in ways for template in (way.leader, *way.workers)]


def pod(ready: str, *, started: str = "T1", message: str = "", **more: Any) -> Pod:
    conditions = [{"type": "ContainersReady", "status": ready}]
    if message:
        conditions.append({"type": WARMED_UP, "status": "True", "message": message})
    statuses = [{"name": "engine", "state": {"running": {"startedAt": started}}}]
    status = {"conditions": conditions, "containerStatuses": statuses}
    return msgspec.convert({"spec": {"readinessGates": [{"conditionType": WARMED_UP}]}, "status": status, **more}, Pod)


GATE = [{"conditionType": WARMED_UP}]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({**VLLM, **SPREAD}, [GATE, None]),
        ({}, [None]),
        (PREFIX, [GATE]),
        ({**VLLM, "warmUp": {"mode": "Off"}}, [None]),
        ({**PREFIX, "warmUp": {"mode": "Off", "prompts": ["a"]}}, [None]),
        ({**VLLM, **SPLIT}, [None, None]),
        ({**VLLM, **SPLIT, **PREFIX}, [None, None]),
        ({**VLLM, "workload": "Deployment"}, [None]),
    ],
    ids=["a leader, not its worker", "the simulated engine is warm", "prompts of its own", "Off", "Off with prompts",
         "roles", "roles with prompts", "pods that others keep"],
)  # fmt: skip
def test_who_waits_for_a_warm_up(spec: dict[str, Any], expected: list[Any]) -> None:
    assert gates(**spec) == expected


def test_what_is_asked() -> None:
    (call,) = warm_up_calls(service(**VLLM), resolve_service(service(**VLLM), (), FACTS), "unified")
    assert call.path == "/v1/completions"
    own = service(**PREFIX)
    calls = warm_up_calls(own, resolve_service(own, (), FACTS), "unified")
    assert [call.body["prompt"] for call in calls] == ["You are", "Hello"]
    assert {call.body["model"] for call in calls} == {"tiny"}


def test_other_prompts_are_no_new_revision_and_another_mode_is() -> None:
    def revision(**spec: Any) -> str:
        return resolve_service(service(**VLLM, **spec), (), FACTS).revision

    assert revision(warmUp={"prompts": ["a"]}) == revision(warmUp={"prompts": ["b"], "timeoutSeconds": 5}) == revision()
    assert revision(warmUp={"mode": "Off"}) != revision()


def test_an_engine_is_warmed_up_once_for_each_of_its_starts() -> None:
    assert not wants_warm_up(pod("False"))
    assert not wants_warm_up(pod("True", spec={}))
    assert not wants_warm_up(pod("True", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    fresh = pod("True")
    assert wants_warm_up(fresh) and started_at(fresh) == "T1"
    (condition,) = warmed_up("T1", "now")["status"]["conditions"]
    assert condition["status"] == "True" and condition["message"] == "T1"
    (failed,) = warmed_up("T1", "now", problem="it refused: no")["status"]["conditions"]
    assert failed["status"] == "True" and failed["reason"] == "WarmUpFailed" and "it refused" in failed["message"]
    for done in (condition, failed):
        assert not wants_warm_up(pod("True", message=done["message"]))
        assert wants_warm_up(pod("True", started="T2", message=done["message"]))
