"""What a server stores of a slice: fields behind feature gates that are off are dropped, some in silence.

`discover` asks once, by a dry run that stores nothing. `reduced` turns an inventory into what such a server can hold
without telling a lie: where counters are dropped, partitions that overlap would look independent and be handed out
twice, so only devices that fit side by side are left; where taints are dropped, devices that new pods are to be kept
from would look well, so they are left out. Pure but for `discover`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from fairlead.devices.inventory import Capacity, Device, Inventory
from fairlead.devices.slices.names import FIRST, slice_name
from fairlead.kube import objects as o
from fairlead.kube.client import Client
from fairlead.kube.errors import Invalid
from fairlead.kube.kinds import RESOURCE_SLICES
from fairlead.kube.quantity import ZERO, Quantity, parse_quantity

Taints = Mapping[str, Sequence[o.DeviceTaint]]


@dataclass(frozen=True, slots=True)
class Features:
    """Which optional parts of a slice the server stores; each with the gate that switches it on."""

    taints: bool = True
    counters: bool = True
    conditions: bool = True
    shares: bool = True
    lists: bool = True

    @property
    def missing(self) -> tuple[str, ...]:
        """The gates that are off."""
        return tuple(_GATES[f.name] for f in fields(self) if not getattr(self, f.name))


ALL_FEATURES: Final = Features()
_GATES: Final = {
    "taints": "DRADeviceTaints",
    "counters": "DRAPartitionableDevices",
    "conditions": "DRADeviceBindingConditions",
    "shares": "DRAConsumableCapacity",
    "lists": "DRAListTypeAttributes",
}


async def discover(client: Client, driver: str, node: str) -> Features:
    """What the server stores, found out by creating a slice of everything in a dry run. Raises ApiError, Unreachable
    (see `kube.client`)."""
    try:
        stored = await client.create(RESOURCE_SLICES, _sample(driver, node, with_lists=True), dry_run=True)
    except Invalid:
        # Without the gate a list is dropped, and an attribute that is left with no value is refused.
        stored = await client.create(RESOURCE_SLICES, _sample(driver, node, with_lists=False), dry_run=True)
    device = stored.spec.devices[0] if stored.spec.devices else o.Device()
    return Features(
        taints=bool(device.taints),
        counters=bool(device.consumes_counters),
        conditions=bool(device.binding_conditions),
        shares=bool(device.allow_multiple_allocations),
        lists="list" in device.attributes and bool(device.attributes["list"].ints),
    )


def _sample(driver: str, node: str, *, with_lists: bool) -> o.ResourceSlice:
    device = o.Device(
        name="sample",
        attributes={"list": o.DeviceAttribute(ints=[1])} if with_lists else {},
        taints=[o.DeviceTaint(key=f"{driver}/sample", effect="None")],
        consumes_counters=[o.DeviceCounterConsumption(counter_set="sample", counters={"sample": o.Counter(value="1")})],
        allow_multiple_allocations=True,
        binding_conditions=["sample"],
        binding_failure_conditions=["sample-failed"],
    )
    pool = o.ResourcePool(name=node, generation=1, resource_slice_count=1)
    return o.ResourceSlice(
        metadata=o.ObjectMeta(name=slice_name(driver, f"{node}/sample", FIRST)),
        spec=o.ResourceSliceSpec(driver=driver, node_name=node, pool=pool, devices=[device]),
    )


def reduced(inventory: Inventory, taints: Taints, features: Features) -> tuple[Inventory, Taints]:
    """What a server with these features can hold."""
    if features == ALL_FEATURES:
        return inventory, taints
    devices = tuple(_reduced_device(device, features) for device in inventory.devices)
    if not features.counters:
        devices = tuple(_side_by_side(devices, inventory.counters))
    if not features.taints:
        devices = tuple(device for device in devices if not _is_barred(taints.get(device.name, ())))
    counters = inventory.counters if features.counters else {}
    names = {device.name for device in devices}
    kept = {name: of_device for name, of_device in taints.items() if name in names} if features.taints else {}
    return replace(inventory, devices=devices, counters=counters), kept


def _is_barred(taints: Sequence[o.DeviceTaint]) -> bool:
    """Whether a device is to be kept from new pods."""
    return any(taint.effect in ("NoSchedule", "NoExecute") for taint in taints)


def _reduced_device(device: Device, features: Features) -> Device:
    if not features.lists:
        singles = {name: value for name, value in device.attributes.items() if not isinstance(value, tuple)}
        device = replace(device, attributes=singles)
    if not features.shares and device.shareable:
        plain = {name: Capacity(capacity.value) for name, capacity in device.capacity.items()}
        device = replace(device, capacity=plain, shareable=False)
    if not features.conditions:
        device = replace(device, binding_conditions=(), binding_failure_conditions=())
    return device


def _side_by_side(devices: Sequence[Device], counters: Mapping[str, Mapping[str, str]]) -> list[Device]:
    """Devices that can all be in use at once: whole ones first, then partitions as far as they fit; without their
    counters, in the order they came."""
    used: dict[tuple[str, str], Quantity] = {}
    chosen: set[str] = set()
    for device in sorted(devices, key=lambda device: bool(device.parent)):
        wanted = {
            (set_name, counter): used.get((set_name, counter), ZERO) + parse_quantity(value)
            for set_name, consumed in device.consumes.items()
            for counter, value in consumed.items()
        }
        if all(amount <= parse_quantity(counters[s][c]) for (s, c), amount in wanted.items()):
            used.update(wanted)
            chosen.add(device.name)
    return [replace(device, consumes={}) for device in devices if device.name in chosen]
