"""Short ways to write slices, classes and claims for tests of the allocator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.kube.objects.devices import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator import (
    EVERY_FEATURE,
    NOTHING_IN_USE,
    Decision,
    Features,
    InUse,
    NodePlace,
    allocate,
    build_catalogue,
    plan_claims,
    prepare_slice,
)

DRIVER = "gpu.example.com"
NODE = NodePlace("n1", {"zone": "a"})
CLASSES: Mapping[str, DeviceClass] = {
    "any": msgspec.convert({"metadata": {"name": "any"}}, DeviceClass),
}


def device(name: str, **fields: Any) -> dict[str, Any]:
    """`fields` are the API's; `attributes` and `capacity` may be given by plain values."""
    attributes = {key: _attribute(value) for key, value in fields.pop("attributes", {}).items()}
    capacity = {
        key: value if isinstance(value, dict) else {"value": value} for key, value in fields.pop("capacity", {}).items()
    }
    return {"name": name, "attributes": attributes, "capacity": capacity, **fields}


def slice_of(
    devices: Sequence[Mapping[str, Any]] = (),
    *,
    name: str = "slice",
    driver: str = DRIVER,
    pool: str = "pool",
    generation: int = 1,
    count: int = 1,
    **spec: Any,
) -> dict[str, Any]:
    """A slice of node n1 unless `spec` names its nodes otherwise."""
    if not spec.keys() & {"nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"}:
        spec["nodeName"] = "n1"
    return {
        "metadata": {"name": name},
        "spec": {
            "driver": driver,
            "pool": {"name": pool, "generation": generation, "resourceSliceCount": count},
            "devices": list(devices),
            **spec,
        },
    }


def counters_of(counters: Mapping[str, str], **where: Any) -> dict[str, Any]:
    return slice_of(
        name="counters",
        allNodes=True,
        sharedCounters=[{"name": "set", "counters": {key: {"value": value} for key, value in counters.items()}}],
        **where,
    )


def consumes(**counters: str) -> list[dict[str, Any]]:
    return [{"counterSet": "set", "counters": {key: {"value": value} for key, value in counters.items()}}]


def request(name: str = "r", count: int = 1, **exactly: Any) -> dict[str, Any]:
    return {"name": name, "exactly": {**_wanted(count), **exactly}}


def subrequest(name: str, count: int = 1, **fields: Any) -> dict[str, Any]:
    return {"name": name, **_wanted(count), **fields}


def claim(*requests: Mapping[str, Any], name: str = "claim", **devices: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"devices": {"requests": list(requests), **devices}}}


def decide(
    slices: Sequence[Mapping[str, Any]],
    *claims: Mapping[str, Any],
    in_use: InUse = NOTHING_IN_USE,
    node: NodePlace = NODE,
    features: Features = EVERY_FEATURE,
    classes: Mapping[str, DeviceClass] = CLASSES,
    rules: Sequence[Mapping[str, Any]] = (),
    exact: bool = False,
    budget: int = 250_000,
) -> Decision:
    taint_rules = msgspec.convert(list(rules), list[DeviceTaintRule])
    prepared = [prepare_slice(each, taint_rules) for each in msgspec.convert(list(slices), list[ResourceSlice])]
    plan = plan_claims(msgspec.convert(list(claims), list[ResourceClaim]), classes, features, exact=exact)
    return allocate(plan, build_catalogue(prepared, features).view(node), in_use, budget=budget)


def _wanted(count: int) -> dict[str, Any]:
    mode: dict[str, Any] = {"allocationMode": "ExactCount", "count": count} if count else {"allocationMode": "All"}
    return {"deviceClassName": "any", **mode}


def _attribute(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"ints" if isinstance(value[0], int) else "strings": value}
    if isinstance(value, bool):
        return {"bool": value}
    return {"int" if isinstance(value, int) else "string": value}
