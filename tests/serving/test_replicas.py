"""What a pod says of why it does not serve."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.kube.objects import Pod
from fairlead.serving.replicas import observe, trouble


def pod(name: str = "a", conditions: Any = (), containers: Any = (), **metadata: Any) -> Pod:
    raw = {
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"} | metadata,
        "status": {"conditions": list(conditions), "containerStatuses": list(containers), "phase": "Running"},
    }
    return msgspec.convert(raw, Pod)


def container(**state: Any) -> dict[str, Any]:
    return {"name": "engine", "state": state}


def test_pods_that_serve_or_just_start_are_in_no_trouble() -> None:
    starting = pod(containers=[container(waiting={"reason": "ContainerCreating"})])
    assert trouble([pod(containers=[container(running={})]), starting]) == ""


def test_the_scheduler_is_quoted() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 2 Insufficient cpu."}
    assert trouble([pod(conditions=[condition])]) == "a: 0/2 nodes are available: 2 Insufficient cpu."


def test_a_crash_loop_says_how_it_ended() -> None:
    crashed = container(waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s"})
    crashed["lastState"] = {"terminated": {"exitCode": 128, "message": "vllm: not found"}}
    assert trouble([pod(containers=[crashed])]) == "a: CrashLoopBackOff: exit code 128 (vllm: not found)"
    no_image = container(waiting={"reason": "ErrImagePull", "message": "no such program"})
    assert trouble([pod(containers=[no_image])]) == "a: ErrImagePull: no such program"
    ended = container(terminated={"reason": "Error", "exitCode": 3})
    assert trouble([pod(containers=[ended])]) == "a: Error: exit code 3"


def test_pods_that_go_anyway_are_not_quoted() -> None:
    going = pod(containers=[container(terminated={"reason": "Error"})], deletionTimestamp="2026-01-01T00:00:00Z")
    assert trouble([going]) == ""


def test_a_replica_is_updated_by_its_hash_and_ready_by_its_condition() -> None:
    ready = pod(conditions=[{"type": "Ready", "status": "True"}], labels={"fairlead.dev/template-hash": "h"})
    seen = observe(ready, "h")
    assert (seen.updated, seen.ready, seen.deleting, seen.failed) == (True, True, False, False)
    assert not observe(ready, "other").updated
