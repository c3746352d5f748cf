"""The scheduler's decisions as functions of plain data: the form in which Kubernetes' own cases are exported.

Programs outside call `allocate` and `select`; both answer as Kubernetes' scheduler does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.kube.objects.nodes import Node
from fairlead.kube.quantity import Quantity, parse_quantity
from fairlead.scheduling.allocator import (
    Allocated,
    AllocationError,
    Catalogue,
    DeviceId,
    DoesNotFit,
    Features,
    InUse,
    NodePlace,
    build_catalogue,
    plan_claims,
    prepare_slice,
)
from fairlead.scheduling.allocator.allocate import allocate as decide
from fairlead.scheduling.allocator.selector_cases import select

__all__ = ["allocate", "select"]

_BUDGET: Final = 2_000_000
"""Steps of one search; upstream gives a node ten seconds."""
_FEATURES: Final = {
    "AdminAccess": "admin_access",
    "ConsumableCapacity": "consumable_capacity",
    "DeviceBindingAndStatus": "binding_conditions",
    "DeviceTaints": "device_taints",
    "ListTypeAttributes": "list_attributes",
    "PartitionableDevices": "partitionable_devices",
    "PrioritizedList": "prioritized_list",
}


def allocate(case: Mapping[str, Any]) -> dict[str, Any]:
    """`{"allocated": bool, "results": [AllocationResult per claim], "error": None | str}` of a case {`features`,
    `node`, `classes`, `slices`, `claims`, `allocatedDevices`, `allocatedSharedDeviceIDs`, `allocatedCapacity`}; what
    is missing or null is off or empty."""
    wanted = case.get("features") or {}
    features = Features(**{ours: bool(wanted.get(theirs)) for theirs, ours in _FEATURES.items()})
    classes = {each.metadata.name: each for each in msgspec.convert(case.get("classes") or [], list[DeviceClass])}
    plan = plan_claims(msgspec.convert(case.get("claims") or [], list[ResourceClaim]), classes, features)
    try:
        view = _catalogue(case, features).view(_place(case))
    except AllocationError as error:
        return {"allocated": False, "results": [], "error": f"gather pool information: {error}"}
    decision = decide(plan, view, _in_use(case), budget=_BUDGET)
    if isinstance(decision, Allocated):
        results = [msgspec.json.decode(msgspec.json.encode(each)) for each in decision.allocations]
        # Without claims nothing is allocated, as the cases see it.
        return {"allocated": bool(results), "results": results, "error": None}
    return {"allocated": False, "results": [], "error": None if isinstance(decision, DoesNotFit) else str(decision)}


def _catalogue(case: Mapping[str, Any], features: Features) -> Catalogue:
    slices = msgspec.convert(case.get("slices") or [], list[ResourceSlice])
    return build_catalogue(map(prepare_slice, slices), features)


def _place(case: Mapping[str, Any]) -> NodePlace:
    metadata = msgspec.convert(case.get("node") or {}, Node).metadata
    return NodePlace(metadata.name, metadata.labels)


def _in_use(case: Mapping[str, Any]) -> InUse:
    shares: dict[DeviceId, frozenset[str]] = {}
    for entry in case.get("allocatedSharedDeviceIDs") or ():
        device = _device(entry)
        shares[device] = shares.get(device, frozenset()) | {entry.get("shareID") or ""}
    capacity: dict[DeviceId, dict[str, Quantity]] = {}
    for entry in case.get("allocatedCapacity") or ():
        capacity[_device(entry)] = {
            name: parse_quantity(amount) for name, amount in (entry.get("consumedCapacity") or {}).items()
        }
    return InUse(frozenset(map(_device, case.get("allocatedDevices") or ())), shares, capacity)


def _device(entry: Mapping[str, Any]) -> DeviceId:
    return DeviceId(entry["driver"], entry["pool"], entry["device"])
