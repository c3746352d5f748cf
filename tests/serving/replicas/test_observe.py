"""Pods as replicas: grouped by label, with what their pods say, and why they do not serve."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.kube.objects import Pod
from fairlead.serving.replicas import observe_replicas, trouble_of

NOW_S = 1_767_225_700.0


def pod(name: str = "a", conditions: Any = (), containers: Any = (), **metadata: Any) -> Pod:
    raw = {
        "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"} | metadata,
        "status": {"conditions": list(conditions), "containerStatuses": list(containers), "phase": "Running"},
    }
    return msgspec.convert(raw, Pod)


def container(**state: Any) -> dict[str, Any]:
    return {"name": "engine", "state": state}


def trouble(*pods: Pod) -> str:
    return trouble_of(observe_replicas(pods, NOW_S))


def test_pods_that_serve_or_just_start_are_in_no_trouble() -> None:
    starting = pod("b", containers=[container(waiting={"reason": "ContainerCreating"})])
    assert trouble(pod(containers=[container(running={})]), starting) == ""


def test_the_scheduler_is_quoted() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 2 Insufficient cpu."}
    assert trouble(pod(conditions=[condition])) == "a: 0/2 nodes are available: 2 Insufficient cpu."


def test_a_crash_loop_says_how_it_ended() -> None:
    crashed = container(waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s"})
    crashed["lastState"] = {"terminated": {"exitCode": 128, "message": "vllm: not found"}}
    assert trouble(pod(containers=[crashed])) == "a: CrashLoopBackOff: exit code 128 (vllm: not found)"
    no_image = container(waiting={"reason": "ErrImagePull", "message": "no such program"})
    assert trouble(pod(containers=[no_image])) == "a: ErrImagePull: no such program"
    ended = container(terminated={"reason": "Error", "exitCode": 3})
    assert trouble(pod(containers=[ended])) == "a: Error: exit code 3"


def test_pods_that_go_anyway_are_not_quoted() -> None:
    going = pod(containers=[container(terminated={"reason": "Error"})], deletionTimestamp="2026-01-01T00:00:00Z")
    assert trouble(going) == ""


def test_a_replica_is_its_members() -> None:
    labels = {"fairlead.dev/replica": "r", "fairlead.dev/revision": "abc", "fairlead.dev/track": "canary"}
    ready = [{"type": "Ready", "status": "True"}]
    size = {"leaderworkerset.sigs.k8s.io/size": "2"}
    leader = pod("r", ready, labels={**labels, "fairlead.dev/member": "0"}, annotations=size)
    worker = pod("r-1", ready, labels={**labels, "fairlead.dev/member": "1"}, annotations=size)
    (whole,) = observe_replicas([worker, leader], NOW_S)
    assert (whole.name, whole.revision, whole.track, whole.size) == ("r", "abc", "canary", 2)
    assert [m.name for m in whole.members] == ["r", "r-1"] and whole.is_ready
    (half,) = observe_replicas([leader], NOW_S)
    assert not half.is_complete and not half.is_ready


def test_a_replica_that_drains_does_not_serve() -> None:
    said = {"fairlead.dev/draining": "2026-01-01T00:00:10Z", "fairlead.dev/drain-reason": "scaled down to 1"}
    (leaving,) = observe_replicas([pod(conditions=[{"type": "Ready", "status": "True"}], annotations=said)], NOW_S)
    assert leaving.is_leaving and not leaving.is_ready and leaving.drain_reason == "scaled down to 1"
    assert leaving.draining_s == 1_767_225_610.0
    (kept,) = observe_replicas([pod(annotations={"fairlead.dev/draining": "false"})], NOW_S)
    assert not kept.is_leaving
