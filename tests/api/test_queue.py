"""The Queue kind: its definition is accepted, and what a person writes wrongly is told in a useful way."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from fairlead.api import QUEUES, Queue, all_crds
from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.kinds.crd import types, types_of_crd
from fairlead.embedded.apiserver.registry import RequestContext, ResourceType
from fairlead.scheduling.queues.read import read_queue

CONTEXT = RequestContext(namespace="", now="2026-01-01T00:00:00Z")
DEVICES = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"


def definition() -> dict[str, Any]:
    return next(copy.deepcopy(crd) for crd in all_crds() if crd["spec"]["names"]["kind"] == "Queue")


@pytest.fixture(scope="module")
def queues() -> ResourceType:
    """The kind as the embedded server serves it."""
    (type_,) = types_of_crd(definition())
    return type_


def stored(queues: ResourceType, spec: Any, name: str = "team-a") -> tuple[dict[str, Any], list[str]]:
    """A queue with its defaults, and what is wrong with it."""
    obj: dict[str, Any] = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}}
    if spec is not None:
        obj["spec"] = spec
    decode(obj, queues)
    queues.strategy.default(obj)
    queues.strategy.prepare_create(obj, CONTEXT)
    obj["metadata"] |= {"uid": "u", "creationTimestamp": CONTEXT.now}
    found = queues.strategy.validate_create(obj, CONTEXT)
    return obj, [f"{error.field}: {error.message}" for error in found]


def test_the_definition_is_accepted(queues: ResourceType) -> None:
    (crds,) = types()
    crd = definition()
    decode(crd, crds)
    crds.strategy.default(crd)
    crds.strategy.prepare_create(crd, CONTEXT)
    assert list(crds.strategy.validate_create(crd, CONTEXT)) == [], "its rules too, and what they may cost"
    assert not queues.namespaced and queues.has_status
    assert (queues.group, queues.version, queues.resource) == QUEUES.identity and not QUEUES.namespaced


def test_a_whole_queue(queues: ResourceType) -> None:
    spec = {
        "parent": "research",
        "priority": 10,
        "resources": {
            "cpu": {"quota": "500m", "limit": 64},
            "memory": {"quota": "1Ti"},
            "nvidia.com/gpu": {"quota": 8, "overQuotaWeight": 2.5, "limit": "16"},
            DEVICES: {"limit": 0},
        },
        "reclaimMinRuntimeSeconds": 600,
        "preemptMinRuntimeSeconds": 0,
        "usageHalfLifeSeconds": 86400,
        "namespaces": ["a", "b"],
    }
    obj, errors = stored(queues, spec)
    assert errors == []
    assert obj["spec"]["resources"]["cpu"]["overQuotaWeight"] == 1
    queue = msgspec.convert(obj, Queue)
    assert queue.spec.resources[DEVICES].quota is None and queue.spec.resources["cpu"].limit == 64
    assert queue.spec.reclaim_min_runtime_seconds == 600 and queue.spec.namespaces == ["a", "b"]


@pytest.mark.parametrize("spec", [None, {}])
def test_an_empty_queue_is_one_that_shares_what_is_left(queues: ResourceType, spec: Any) -> None:
    obj, errors = stored(queues, spec)
    assert errors == []
    queue = msgspec.convert(obj, Queue)
    assert (queue.spec.parent, queue.spec.priority, queue.spec.resources) == ("", 0, {})
    assert queue.spec.reclaim_min_runtime_seconds is None, "the parent's value"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"parent": "team-a"},
         "spec.parent: Invalid value: a queue cannot be its own parent: name another, or leave parent out"),
        ({"parent": "Team"}, "spec.parent: Invalid value: \"Team\": spec.parent in body should match"),
        ({"resources": {"nvidia.com/gpu": {"quota": 8, "limit": 4}}},
         "spec.resources[nvidia.com/gpu].limit: Invalid value: the limit is below the quota: raise limit, or lower"),
        ({"resources": {"cpu": {"limit": -1}}}, "limit may not be negative: leave it out for no limit"),
        ({"resources": {"cpu": {"quota": "-500m"}}}, "quota may not be negative: leave it out for nothing to count on"),
        ({"resources": {"cpu": {"quota": "lots"}}}, "should match"),
        ({"resources": {"cpu": {"overQuotaWeight": -1}}}, "should be greater than or equal to 0"),
        ({"resources": {"": {"quota": 1}}}, "resources are named as in a pod (cpu, memory, nvidia.com/gpu), or"),
        ({"resources": {"r" * 400: {"quota": 1}}}, "resources are named as in a pod"),
        ({"resources": {f"example.com/r{i}": {} for i in range(65)}}, "must have at most 64"),
        ({"reclaimMinRuntimeSeconds": -1}, "should be greater than or equal to 0"),
        ({"namespaces": ["a", "a"]}, "spec.namespaces[1]: Duplicate value: \"a\""),
        ({"namespaces": ["A.b"]}, "should match"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_a_remedy(queues: ResourceType, spec: Any, problem: str) -> None:
    _, errors = stored(queues, spec)
    assert len(errors) >= 1 and any(problem in error for error in errors), errors


def test_a_queue_that_pods_could_not_name_is_refused(queues: ResourceType) -> None:
    _, errors = stored(queues, {}, "a" * 64)
    assert any("at most 63 characters: pods name their queue in a label" in error for error in errors), errors
    assert stored(queues, {}, "a" * 63)[1] == []


def test_the_scheduler_reads_every_field(queues: ResourceType) -> None:
    """What the kind describes and what the scheduler takes from it are the same fields."""
    spec = {
        "parent": "p",
        "priority": 1,
        "resources": {"cpu": {"quota": "1500m", "overQuotaWeight": 3, "limit": 2}},
        "reclaimMinRuntimeSeconds": 4,
        "preemptMinRuntimeSeconds": 5,
        "usageHalfLifeSeconds": 6,
        "namespaces": ["n"],
    }
    obj, errors = stored(queues, spec)
    properties = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert errors == [] and spec.keys() == properties.keys()
    view = read_queue("q", obj["spec"])
    entitlement = view.resources["cpu"]
    assert (entitlement.quota, entitlement.over_quota_weight, entitlement.limit) == (1500, 3, 2000)
    assert (view.parent, view.priority, view.half_life_s, view.namespaces) == ("p", 1, 6, ("n",))
    assert (view.reclaim_min_runtime_s, view.preempt_min_runtime_s) == (4, 5)
