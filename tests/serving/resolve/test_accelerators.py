"""Accelerators as claims: one with alternatives where they are alike, one each where they are not."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.serving.resolve import Alternative, resolve_service
from fairlead.serving.resolved import Unservable
from serving.resolve.services import FACTS, VLLM, service

H100 = {"name": "h100", "deviceClass": "gpu.nvidia.com"}
B200 = {"name": "b200", "deviceClass": "big.nvidia.com"}


def ways(*accelerators: dict[str, Any], **spec: Any) -> tuple[Alternative, ...]:
    made = resolve_service(service(**{**VLLM, **spec, "accelerators": list(accelerators)}), (), FACTS)
    return made.roles["unified"].ways


def requests(way: Alternative) -> Any:
    assert way.claim is not None
    return way.claim.spec["devices"]["requests"]


def test_the_count_is_what_one_host_needs() -> None:
    (way,) = ways(H100, parallelism={"tensor": 8, "data": 2, "hosts": 2})
    assert requests(way)[0]["exactly"]["count"] == 8 and way.size == 2
    (way,) = ways({**H100, "count": 3})
    assert requests(way)[0]["exactly"]["count"] == 3


def test_ranks_of_an_rngd_card_are_its_processing_elements() -> None:
    spec = {"runtime": "furiosa-llm", "parallelism": {"tensor": 8, "data": 2}}
    (way,) = ways({"name": "rngd", "deviceClass": "npu.furiosa.ai"}, **spec)
    assert requests(way)[0]["exactly"]["count"] == 2


def test_selectors_and_shared_attributes_are_the_claims() -> None:
    selectors = ["device.attributes['gpu.nvidia.com'].brand == 'x'"]
    (way,) = ways({**H100, "selectors": selectors, "matchAttributes": ["resource.kubernetes.io/pcieRoot"]})
    assert way.claim is not None
    assert way.claim.spec["devices"] == {
        "requests": [
            {
                "name": "accelerators",
                "exactly": {
                    "deviceClassName": "gpu.nvidia.com", "allocationMode": "ExactCount", "count": 1,
                    "selectors": [{"cel": {"expression": selectors[0]}}],
                },
            }
        ],
        "constraints": [{"requests": ["accelerators"], "matchAttribute": "resource.kubernetes.io/pcieRoot"}],
    }  # fmt: skip


def test_alike_alternatives_are_one_claim_in_their_order_and_nothing_is_chosen() -> None:
    (way,) = ways({**H100, "matchAttributes": ["a/b", "a/c"]}, {**B200, "count": 2, "matchAttributes": ["a/b"]})
    (request,) = requests(way)
    assert [(s["name"], s["deviceClassName"], s["count"]) for s in request["firstAvailable"]] == [
        ("h100", "gpu.nvidia.com", 1), ("b200", "big.nvidia.com", 2),
    ]  # fmt: skip
    assert way.name == "" and way.claim is not None
    assert way.claim.spec["devices"]["constraints"] == [
        {"requests": ["accelerators"], "matchAttribute": "a/b"},
        {"requests": ["accelerators/h100"], "matchAttribute": "a/c"},
    ]
    made = resolve_service(service(**VLLM, accelerators=[H100, B200]), (), FACTS)
    assert made.roles["unified"].alternatives == ()


def test_alike_alternatives_with_settings_of_their_own_are_run_with_these() -> None:
    same = {
        "parallelism": {"tensor": 2},
        "args": ["--x"],
        "env": [{"name": "A", "value": "1"}],
        "nodeSelector": {"n": "1"},
    }
    (way,) = ways({**H100, **same}, {**B200, **same})
    assert [s["count"] for s in requests(way)[0]["firstAvailable"]] == [2, 2]
    spec = way.leader["spec"]
    assert "--x" in spec["containers"][0]["command"] and spec["nodeSelector"] == {"n": "1"}
    assert {"name": "A", "value": "1"} in spec["containers"][0]["env"]


@pytest.mark.parametrize(
    "difference",
    [
        {"parallelism": {"tensor": 2}}, {"args": ["--x"]}, {"env": [{"name": "A"}]}, {"nodeSelector": {"a": "b"}},
        {"deviceClass": "", "resource": "nvidia.com/gpu"},
    ],
)  # fmt: skip
def test_alternatives_that_differ_are_ways_of_their_own(difference: dict[str, Any]) -> None:
    first, second = ways(H100, {**B200, **difference})
    assert (first.name, second.name) == ("h100", "b200")
    assert first.leader["metadata"]["labels"]["fairlead.dev/accelerator"] == "h100"


def test_extended_resources_are_limits() -> None:
    (way,) = ways(
        {"name": "gpu", "resource": "nvidia.com/gpu"}, parallelism={"tensor": 4}, resources={"limits": {"cpu": "8"}}
    )
    assert way.claim is None
    (container,) = way.leader["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "8", "nvidia.com/gpu": "4"}


def test_names_of_templates_tell_their_content() -> None:
    (one,), (two,), (same,) = ways(H100), ways({**H100, "count": 2}), ways(H100, args=["--x"])
    assert one.claim and two.claim and same.claim
    assert one.claim.name == same.claim.name != two.claim.name


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"deviceClass": "d", "resource": "nvidia.com/gpu"}, "write one of them"),
        ({"resource": "nvidia.com/gpu", "selectors": ["true"]}, "cannot be selected from"),
        ({"selectors": ["true"]}, "selectors choose among the devices of a class"),
    ],
)
def test_entries_that_contradict_themselves_are_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(Unservable, match=said) as refused:
        ways({"name": "a", **entry})
    assert refused.value.field.startswith("accelerators[a]")
