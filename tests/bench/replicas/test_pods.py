"""How far a pod has come, which replica it is of, and how many accelerators it holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.replicas.made import pod
from fairlead.bench.replicas.accelerators import accelerators_of, is_accelerator
from fairlead.bench.replicas.pods import replica_of, state_of
from fairlead.kube.objects import ResourceClaim


def test_a_pod_goes_through_its_moments() -> None:
    new = state_of(pod(created_s=100.0))
    assert (new.scheduled, new.started, new.ready, new.leaving, new.serves) == (False, False, False, False, False)
    placed = state_of(pod(node="n", scheduled_s=101.0))
    assert placed.scheduled and not placed.started
    running = state_of(pod(node="n", scheduled_s=101.0, running_s=103.0))
    assert running.started and running.told.started == 103.0
    ready = state_of(pod(node="n", scheduled_s=101.0, running_s=103.0, ready_s=107.9))
    assert ready.serves and ready.told.ready == 107.0


def test_a_pod_that_was_told_to_go_serves_no_longer_though_it_is_ready() -> None:
    going = state_of(pod(node="n", running_s=1.0, ready_s=2.0, deleted_s=50.0, grace_s=30))
    assert going.ready and going.leaving and not going.serves
    assert going.told.leaving == 50.0
    draining = state_of(pod(ready_s=2.0, annotations={"fairlead.dev/draining": "1970-01-01T00:00:40Z"}, deleted_s=50.0))
    assert not draining.serves and draining.told.leaving == 40.0
    over = state_of(pod(ready_s=2.0, phase="Failed"))
    assert over.over and not over.serves


def test_not_all_containers_running_is_not_started() -> None:
    two = pod(node="n", running_s=3.0, spec={"containers": [{"name": "main"}, {"name": "beside"}]})
    assert not state_of(two).started


def test_times_that_are_none_are_not_known() -> None:
    assert state_of(pod(annotations={"fairlead.dev/draining": "yes"})).told.leaving is None


@pytest.mark.parametrize(
    ("labels", "annotations", "replica"),
    [
        ({}, {}, ("a", 1)),
        ({"fairlead.dev/replica": "m-0"}, {"leaderworkerset.sigs.k8s.io/size": "1"}, ("m-0", 1)),
        ({"fairlead.dev/replica": "m-0"}, {"leaderworkerset.sigs.k8s.io/size": "4"}, ("m-0", 4)),
        (
            {"leaderworkerset.sigs.k8s.io/name": "s", "leaderworkerset.sigs.k8s.io/group-index": "2"},
            {"leaderworkerset.sigs.k8s.io/size": "2"},
            ("s-2", 2),
        ),
        ({"fairlead.dev/replica": "m-0"}, {"leaderworkerset.sigs.k8s.io/size": "many"}, ("m-0", 1)),
    ],
)
def test_the_replica_of_a_pod(labels: dict[str, str], annotations: dict[str, str], replica: tuple[str, int]) -> None:
    assert replica_of(pod(labels=labels, annotations=annotations)) == replica


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("nvidia.com/gpu", True), ("nvidia.com/mig-1g.10gb", True), ("amd.com/gpu", True), ("google.com/tpu", True),
        ("gpu.intel.com/i915", True), ("habana.ai/gaudi", True), ("furiosa.ai/rngd", True), ("npu.furiosa.ai", True),
        ("aws.amazon.com/neuroncore", True), ("huawei.com/Ascend910", True), ("gpu.nvidia.com", True),
        ("tpu.google.com", True), ("gpu.amd.com", True),
        ("dra.net", False), ("rdma/hca_shared", False), ("compute-domain.nvidia.com", False),
        ("nvidia.com/gpumem", False), ("example.com/licence", False), ("dra.cpu", False),
        ("compute-domain.gpu.nvidia.com", False), ("nvidia.com/gpucores", False),
    ],
)  # fmt: skip
def test_what_is_an_accelerator(name: str, is_one: bool) -> None:
    assert is_accelerator(name) is is_one


def asks(amount: int, **container: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"limits": {"nvidia.com/gpu": str(amount), "cpu": "4"}}, **container}


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ({"containers": [{"name": "c"}]}, None),
        ({"containers": [asks(2)]}, 2),
        ({"containers": [asks(2), asks(1)]}, 3),
        # The start-up takes part of what is there later, a container that stays beside the others does not.
        ({"containers": [asks(2)], "initContainers": [asks(1)]}, 2),
        ({"containers": [asks(2)], "initContainers": [asks(8)]}, 8),
        ({"containers": [asks(2)], "initContainers": [asks(1, restartPolicy="Always")]}, 3),
        ({"containers": [{"name": "c", "resources": {"requests": {"rdma/hca": "4"}}}]}, None),
    ],
)
def test_accelerators_by_extended_resources(spec: dict[str, Any], count: float | None) -> None:
    assert accelerators_of(pod(spec=spec), {}) == count


def claim(devices: list[dict[str, Any]] | None, pods: int = 1) -> ResourceClaim:
    status: dict[str, Any] = {"reservedFor": [{"resource": "pods", "name": f"p{n}"} for n in range(pods)]}
    if devices is not None:
        status["allocation"] = {"devices": {"results": devices}}
    return msgspec.convert({"status": status}, ResourceClaim)


def device(name: str, driver: str = "gpu.nvidia.com", **more: Any) -> dict[str, Any]:
    return {"request": "r", "driver": driver, "pool": "node", "device": name, **more}


def test_accelerators_by_claims() -> None:
    two = [device("gpu-0"), device("gpu-1"), device("eth0", "dra.net"), device("gpu-2", adminAccess=True)]
    asked = pod(claims=["c"], spec={"resourceClaims": [{"name": "c", "resourceClaimTemplateName": "t"}]})
    assert accelerators_of(asked, {"c": claim(two)}) == 2
    assert accelerators_of(asked, {"c": claim([device("gpu-0"), device("gpu-0")])}) == 1, "two requests, one device"
    assert accelerators_of(asked, {"c": claim(two, pods=4)}) == 0.5, "shared by four pods"
    assert accelerators_of(asked, {"c": claim(None)}) is None
    assert accelerators_of(asked, {}) is None
    named = pod(claims=["c"], spec={"resourceClaims": [{"name": "c", "resourceClaimName": "c"}]})
    assert accelerators_of(named, {"c": claim(two)}) == 2, "a claim that is named and told of counts once"
