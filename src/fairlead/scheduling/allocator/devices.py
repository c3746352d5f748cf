"""Devices prepared for allocation: what a search asks of them is read and interned once per slice, not per decision.

A prepared slice stays valid as long as its ResourceSlice and the taint rules do not change, whatever happens to other
slices; answers of selectors and attribute values are remembered on the device and go with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.kube.objects.devices import (
    CounterSet,
    Device,
    DeviceTaint,
    DeviceTaintRule,
    ResourcePool,
    ResourceSlice,
)
from fairlead.scheduling.allocator.capacity import Capacity, read_capacities
from fairlead.scheduling.allocator.constraints import AttributeValue, attribute_value
from fairlead.scheduling.allocator.nodes import Reach
from fairlead.scheduling.allocator.selectors import Selector, SelectorDevice
from fairlead.scheduling.allocator.taints import taints_by_rule


class DeviceId(NamedTuple):
    """A device's name in the cluster."""

    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}/{self.device}"


class PoolId(NamedTuple):
    """A pool's name in the cluster."""

    driver: str
    pool: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}"


@dataclass(frozen=True, slots=True, eq=False)
class PreparedDevice:
    """One device of a slice. Compared by identity: a changed slice has new ones."""

    id: DeviceId
    spec: Device
    capacities: tuple[Capacity, ...]
    taints: tuple[DeviceTaint, ...]
    """Its own and those of taint rules."""
    reach: Reach
    """From which nodes it can be used: its own word where the slice leaves that to its devices, else the slice's."""
    reach_is_own: bool
    subject: SelectorDevice
    """The device as selectors see it."""
    verdicts: dict[Selector, bool] = field(default_factory=dict, repr=False)
    """What selectors said about it, by selector."""
    values: dict[tuple[str, bool], AttributeValue | None] = field(default_factory=dict, repr=False)

    @property
    def is_shared(self) -> bool:
        """Whether it can be given to several claims, each with a share of its capacity."""
        return self.spec.allow_multiple_allocations is True

    def attribute(self, name: str, *, lists: bool) -> AttributeValue | None:
        """The value of a fully qualified attribute, None where it has none."""
        key = (name, lists)
        try:
            return self.values[key]
        except KeyError:
            value = attribute_value(self.spec.attributes, self.id.driver, name, lists=lists)
            self.values[key] = value
            return value


@dataclass(frozen=True, slots=True, eq=False)
class PreparedSlice:
    """One ResourceSlice."""

    name: str
    pool: PoolId
    generation: int
    slices_in_pool: int
    """How many slices the pool's publisher says that this generation has."""
    reach: Reach
    per_device: bool
    """Whether each device says for itself from which nodes it can be used."""
    has_per_device_field: bool
    counter_sets: tuple[CounterSet, ...]
    devices: tuple[PreparedDevice, ...]
    defect: str = ""
    """What cannot be read in it, "" for nothing. A pool with such a slice is invalid."""


def prepare_slice(slice_: ResourceSlice, rules: Iterable[DeviceTaintRule] = ()) -> PreparedSlice:
    """Reads a slice; `rules` are the cluster's DeviceTaintRules."""
    spec = slice_.spec
    pool = spec.pool or ResourcePool()
    reach = Reach(spec.node_name, spec.all_nodes is True, spec.node_selector)
    per_device = spec.per_device_node_selection is True
    rules = [rule for rule in rules if _may_concern(rule, spec.driver, pool.name)]
    devices: list[PreparedDevice] = []
    defect = ""
    for device in spec.devices:
        own = Reach(device.node_name, device.all_nodes is True, device.node_selector)
        try:
            capacities = read_capacities(device.capacity)
        except ValueError as error:
            capacities = ()
            defect = defect or f"device {device.name} has a capacity that is no quantity: {error}"
        devices.append(
            PreparedDevice(
                DeviceId(spec.driver, pool.name, device.name),
                device,
                capacities,
                (*device.taints, *taints_by_rule(rules, spec.driver, pool.name, device.name)),
                own if per_device else reach,
                per_device,
                SelectorDevice(
                    spec.driver, device.attributes, device.capacity, device.allow_multiple_allocations is True
                ),
            )
        )
    return PreparedSlice(
        slice_.metadata.name,
        PoolId(spec.driver, pool.name),
        pool.generation,
        pool.resource_slice_count,
        reach,
        per_device,
        spec.per_device_node_selection is not None,
        tuple(spec.shared_counters),
        tuple(devices),
        defect,
    )


def _may_concern(rule: DeviceTaintRule, driver: str, pool: str) -> bool:
    selector = rule.spec.device_selector
    return selector is not None and selector.driver in (None, driver) and selector.pool in (None, pool)
