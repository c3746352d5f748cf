"""Between a driver's devices and those of the API (`resource.k8s.io/v1`): the same facts, in the API's form.

Quantities are written as the API server stores them ("1000m" is "1"), so that what comes back compares equal. What the
API has no field for does not survive the way there and back: `Device.parent` and `Inventory.links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from fairlead.devices.inventory import Attribute, Capacity, Device, Inventory, RequestPolicy, Version
from fairlead.kube import objects as o
from fairlead.kube.quantity import canonical

T = TypeVar("T")


def listed(items: Iterable[T]) -> Sequence[T]:
    """The items as decoding gives them: a list, and the fields' default where there are none."""
    return list(items) or ()


def api_device(device: Device, taints: Sequence[o.DeviceTaint] = ()) -> o.Device:
    return o.Device(
        name=device.name,
        attributes={name: api_attribute(value) for name, value in device.attributes.items()},
        capacity={name: api_capacity(capacity) for name, capacity in device.capacity.items()},
        consumes_counters=listed(
            o.DeviceCounterConsumption(counter_set=name, counters=api_counters(counters))
            for name, counters in device.consumes.items()
        ),
        allow_multiple_allocations=True if device.shareable else None,
        binding_conditions=listed(device.binding_conditions),
        binding_failure_conditions=listed(device.binding_failure_conditions),
        taints=listed(taints),
    )


def api_attribute(value: Attribute) -> o.DeviceAttribute:
    if isinstance(value, tuple):
        return _api_list(value)
    if isinstance(value, bool):
        return o.DeviceAttribute(bool_=value)
    if isinstance(value, int):
        return o.DeviceAttribute(int_=value)
    if isinstance(value, Version):
        return o.DeviceAttribute(version=str(value))
    return o.DeviceAttribute(string=value)


def _api_list(values: tuple[int, ...] | tuple[str, ...]) -> o.DeviceAttribute:
    first = values[0] if values else ""
    if isinstance(first, bool):
        return o.DeviceAttribute(bools=[bool(value) for value in values])
    if isinstance(first, int):
        return o.DeviceAttribute(ints=[int(value) for value in values])
    texts = [str(value) for value in values]
    return o.DeviceAttribute(versions=texts) if isinstance(first, Version) else o.DeviceAttribute(strings=texts)


def api_capacity(capacity: Capacity) -> o.DeviceCapacity:
    policy = capacity.policy
    if policy is None:
        return o.DeviceCapacity(value=canonical(capacity.value))
    bounds = (policy.min, policy.max, policy.step)
    low, high, step = (canonical(text) if text else "" for text in bounds)
    return o.DeviceCapacity(
        value=canonical(capacity.value),
        request_policy=o.CapacityRequestPolicy(
            default=canonical(policy.default) if policy.default else "",
            valid_values=listed(canonical(value) for value in policy.valid_values),
            valid_range=o.CapacityRequestPolicyRange(min=low, max=high, step=step) if any(bounds) else None,
        ),
    )


def api_counters(counters: Mapping[str, str]) -> dict[str, o.Counter]:
    return {name: o.Counter(value=canonical(value)) for name, value in counters.items()}


def api_counter_set(name: str, counters: Mapping[str, str]) -> o.CounterSet:
    return o.CounterSet(name=name, counters=api_counters(counters))


def inventory_of(specs: Iterable[o.ResourceSliceSpec]) -> Inventory:
    """The inventory that the slices of one generation tell, devices in the order of the slices."""
    devices: list[Device] = []
    counters: dict[str, Mapping[str, str]] = {}
    for spec in specs:
        devices += [device_of(device) for device in spec.devices]
        for counter_set in spec.shared_counters:
            counters[counter_set.name] = {name: counter.value for name, counter in counter_set.counters.items()}
    return Inventory(tuple(devices), counters)


def device_of(device: o.Device) -> Device:
    return Device(
        name=device.name,
        attributes={name: attribute_of(attribute) for name, attribute in device.attributes.items()},
        capacity={name: capacity_of(capacity) for name, capacity in device.capacity.items()},
        consumes={
            consumption.counter_set: {name: counter.value for name, counter in consumption.counters.items()}
            for consumption in device.consumes_counters
        },
        shareable=bool(device.allow_multiple_allocations),
        binding_conditions=tuple(device.binding_conditions),
        binding_failure_conditions=tuple(device.binding_failure_conditions),
    )


def attribute_of(attribute: o.DeviceAttribute) -> Attribute:
    """Raises ValueError for an attribute without a value, which no server stores."""
    if attribute.version is not None:
        return Version(attribute.version)
    for single in (attribute.bool_, attribute.int_, attribute.string):
        if single is not None:
            return single
    if attribute.versions:
        return tuple(Version(value) for value in attribute.versions)
    for several in (attribute.bools, attribute.ints):
        if several:
            return tuple(several)
    if attribute.strings:
        return tuple(attribute.strings)
    raise ValueError("an attribute has no value")


def capacity_of(capacity: o.DeviceCapacity) -> Capacity:
    policy = capacity.request_policy
    if policy is None:
        return Capacity(capacity.value)
    bounds = policy.valid_range or o.CapacityRequestPolicyRange()
    return Capacity(
        capacity.value,
        RequestPolicy(policy.default, tuple(policy.valid_values), bounds.min, bounds.max, bounds.step),
    )
