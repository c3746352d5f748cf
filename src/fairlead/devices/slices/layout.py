"""From an inventory to the contents of slices: which device goes into which slot.

The API allows 128 devices a slice, 64 where any device of the slice has taints, counters or list attributes; counter
sets go into slices of their own, 8 a slice. A slice is kept far below what etcd takes as one object.

A device stays in the slot it was in, so that a change of one device changes one slice: a device that goes leaves room,
a new one takes the first room there is, and only a slot that outgrows a limit gives devices to another. Within a slot,
devices are in the order of the inventory, which is the order in which allocators try them. Where so much room is left
that half the slices would do, or nothing was published before, all are laid out anew. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from fairlead.devices.inventory import Inventory
from fairlead.devices.slices.convert import api_counter_set, api_device
from fairlead.devices.slices.features import Taints
from fairlead.devices.slices.names import FIRST, Kind, Slot
from fairlead.kube import objects as o

MAX_DEVICES: Final = 128
MAX_DEVICES_WITH_FEATURES: Final = 64
MAX_COUNTER_SETS: Final = 8
MAX_SLICE_BYTES: Final = 512 * 1024
"""etcd refuses requests above 1.5 MiB; an update carries the object once, with room for what the server adds to it."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)
Assignment = Mapping[Slot, Sequence[str]]
"""Slot -> names of the devices or counter sets in it."""


@dataclass(frozen=True, slots=True)
class SliceContent:
    """What one slice of a pool holds: devices, or counter sets, or nothing."""

    slot: Slot
    devices: tuple[o.Device, ...] = ()
    counter_sets: tuple[o.CounterSet, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*(device.name for device in self.devices), *(counter_set.name for counter_set in self.counter_sets))


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T
    size: int
    is_featured: bool


@dataclass(frozen=True, slots=True)
class _Limits:
    plain: int
    featured: int

    def allow(self, items: Sequence[_Item[T]]) -> bool:
        limit = self.featured if any(item.is_featured for item in items) else self.plain
        return len(items) <= limit and (len(items) <= 1 or sum(item.size for item in items) <= MAX_SLICE_BYTES)


_DEVICES: Final = _Limits(MAX_DEVICES, MAX_DEVICES_WITH_FEATURES)
_COUNTERS: Final = _Limits(MAX_COUNTER_SETS, MAX_COUNTER_SETS)


def compute_layout(
    inventory: Inventory, taints: Taints, previous: Assignment | None = None
) -> tuple[SliceContent, ...]:
    """The slices of an inventory that `rules.check_inventory` found valid, counter slices last.

    The first slot is always there, if empty: a pool without devices is told as such. `previous` is what is published.
    """
    devices = [_device_item(api_device(d, taints.get(d.name, ()))) for d in inventory.devices]
    sets = [_item(api_counter_set(name, counters)) for name, counters in inventory.counters.items()]
    in_devices = _assigned("devices", devices, _DEVICES, previous or {})
    in_counters = _assigned("counters", sets, _COUNTERS, previous or {})
    contents = [SliceContent(slot, devices=tuple(items)) for slot, items in in_devices.items()]
    if not contents:
        contents.append(SliceContent(FIRST))
    contents += [SliceContent(slot, counter_sets=tuple(items)) for slot, items in in_counters.items()]
    return tuple(contents)


def _item(value: T, is_featured: bool = False) -> _Item[T]:
    # Two more bytes a device: a comma and, for a taint, the time that the server adds.
    return _Item(value, len(msgspec.json.encode(value)) + 64, is_featured)


def _device_item(device: o.Device) -> _Item[o.Device]:
    lists = any(a.bools or a.ints or a.strings or a.versions for a in device.attributes.values())
    return _item(device, bool(device.taints or device.consumes_counters or lists))


def _assigned(kind: Kind, items: Sequence[_Item[T]], limits: _Limits, previous: Assignment) -> dict[Slot, list[T]]:
    """Slots in order of number, each with its items in the order given."""
    fresh = _laid_out({}, items, limits)
    kept = _kept(kind, items, limits, previous)
    sticky = _laid_out(kept, items, limits)
    is_sparse = len(sticky) > 2 * len(fresh)
    if not kept or is_sparse or 0 not in sticky:
        sticky = fresh
    return {Slot(kind, number): sticky[number] for number in sorted(sticky)}


def _kept(kind: Kind, items: Sequence[_Item[T]], limits: _Limits, previous: Assignment) -> dict[int, list[_Item[T]]]:
    """What stays where it was: per slot as many items as its limits allow, in the order given."""
    slot_of = {name: slot.number for slot, names in previous.items() if slot.kind == kind for name in names}
    kept: dict[int, list[_Item[T]]] = {}
    for item in items:
        number = slot_of.get(item.value.name)
        if number is not None and limits.allow([*kept.get(number, ()), item]):
            kept.setdefault(number, []).append(item)
    return kept


def _laid_out(kept: Mapping[int, list[_Item[T]]], items: Sequence[_Item[T]], limits: _Limits) -> dict[int, list[T]]:
    """Every item in a slot: those that are not kept go, in order, to the first slot with room."""
    slots: dict[int, list[_Item[T]]] = {number: list(slot) for number, slot in kept.items()}
    placed = {item.value.name for slot in slots.values() for item in slot}
    order = {item.value.name: index for index, item in enumerate(items)}
    open_from = 0
    for item in items:
        if item.value.name in placed:
            continue
        number = open_from
        while number in slots and not limits.allow([*slots[number], item]):
            number += 1
        if not kept:
            # Without holes to fill, what comes later goes behind: the order of all slices is that of the inventory.
            open_from = number
        slots.setdefault(number, []).append(item)
    return {
        number: [item.value for item in sorted(slot, key=lambda item: order[item.value.name])]
        for number, slot in slots.items()
        if slot
    }
