"""One selector against one device, written as plain data: the form in which Kubernetes' own cases are exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.kube.objects.devices import DeviceAttribute, DeviceCapacity
from fairlead.scheduling.allocator.selectors import (
    CompileError,
    EnvironmentType,
    Features,
    Selector,
    SelectorDevice,
    SelectorError,
    compile_selector,
)


def select(case: Mapping[str, Any]) -> dict[str, Any]:
    """`{"match": bool, "compileError": None | str, "matchError": None | str}` of a case {`expression`, `envType`,
    `enableConsumableCapacity`, `enableListTypeAttributes`, `driver`, `attributes`, `capacity`,
    `allowMultipleAllocations`}; what is missing or null is off or empty."""
    try:
        selector = compile_case(case)
    except CompileError as error:
        return {"match": False, "compileError": str(error), "matchError": None}
    try:
        return {"match": selector.matches(device_of(case)), "compileError": None, "matchError": None}
    except SelectorError as error:
        return {"match": False, "compileError": None, "matchError": str(error)}


def compile_case(case: Mapping[str, Any]) -> Selector:
    """Raises CompileError."""
    features = Features(
        consumable_capacity=bool(case.get("enableConsumableCapacity")),
        list_attributes=bool(case.get("enableListTypeAttributes")),
    )
    environment = EnvironmentType(case.get("envType") or EnvironmentType.STORED.value)
    return compile_selector(case["expression"], features=features, environment=environment)


def device_of(case: Mapping[str, Any]) -> SelectorDevice:
    return SelectorDevice(
        driver=case.get("driver") or "",
        attributes=msgspec.convert(case.get("attributes") or {}, dict[str, DeviceAttribute]),
        capacity=msgspec.convert(case.get("capacity") or {}, dict[str, DeviceCapacity]),
        allow_multiple_allocations=bool(case.get("allowMultipleAllocations")),
    )
