"""Inventories laid out into slices: limits, order, stability, and the way back."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from devices.slices.slice_inventories import inventories, partitioned, plain, taint, tainted
from fairlead.devices.inventory import Capacity, Device, Inventory, RequestPolicy
from fairlead.devices.slices.convert import inventory_of
from fairlead.devices.slices.layout import MAX_SLICE_BYTES, SliceContent, compute_layout
from fairlead.devices.slices.names import FIRST
from fairlead.kube import objects as o
from fairlead.kube.quantity import canonical


def spec(content: SliceContent) -> o.ResourceSliceSpec:
    """A slice's spec as it comes back from the API."""
    written = o.ResourceSliceSpec(devices=list(content.devices), shared_counters=list(content.counter_sets))
    return msgspec.json.decode(msgspec.json.encode(written), type=o.ResourceSliceSpec)


def as_published(inventory: Inventory) -> Inventory:
    """The inventory with quantities as the API writes them, and without what it has no field for."""

    def policy(p: RequestPolicy | None) -> RequestPolicy | None:
        texts = [canonical(text) if text else "" for text in (p.default, p.min, p.max, p.step)] if p else []
        return p and RequestPolicy(texts[0], tuple(map(canonical, p.valid_values)), *texts[1:])

    def counters(sets):
        return {s: {c: canonical(v) for c, v in of.items()} for s, of in sets.items()}

    devices = tuple(
        replace(
            d,
            parent="",
            capacity={n: Capacity(canonical(c.value), policy(c.policy)) for n, c in d.capacity.items()},
            consumes=counters(d.consumes),
        )
        for d in inventory.devices
    )
    return Inventory(devices, counters(inventory.counters))


def assigned(contents: tuple[SliceContent, ...]) -> dict:
    return {content.slot: content.names for content in contents}


def sizes(contents: tuple[SliceContent, ...]) -> list[int]:
    return [len(c.devices) for c in contents if c.slot.kind == "devices"]


@given(tainted(lists=True))
def test_slices_tell_the_inventory(given_: tuple) -> None:
    inventory, taints = given_
    contents = compute_layout(inventory, taints)
    assert inventory_of(map(spec, contents)) == as_published(inventory)
    told = {d.name: tuple(d.taints) for c in contents for d in c.devices if d.taints}
    assert told == taints


@given(tainted(max_devices=30))
def test_every_slice_keeps_the_limits(given_: tuple) -> None:
    inventory, taints = given_
    for content in compute_layout(inventory, taints):
        assert not (content.devices and content.counter_sets)
        assert len(content.counter_sets) <= 8
        assert len(msgspec.json.encode(content.devices)) <= MAX_SLICE_BYTES


def test_devices_are_split_at_128_and_at_64_with_features() -> None:
    assert sizes(compute_layout(plain(128), {})) == [128]
    assert sizes(compute_layout(plain(129), {})) == [128, 1]
    assert sizes(compute_layout(partitioned(8), {})) == [64, 56]
    listed = Inventory(tuple(Device(f"d-{n}", {"numa": (0, 1)}) for n in range(65)))
    assert sizes(compute_layout(listed, {})) == [64, 1]
    # The tainted device is the one that has to go: the others stay together.
    assert sizes(compute_layout(plain(128), {"dev-100": (taint(),)}, assigned(compute_layout(plain(128), {})))) == [
        127,
        1,
    ]


def test_counter_sets_are_in_slices_of_their_own() -> None:
    contents = compute_layout(partitioned(20), {})
    assert [len(c.counter_sets) for c in contents if c.slot.kind == "counters"] == [8, 8, 4]
    assert contents[0].slot == FIRST


def test_no_devices_is_one_empty_slice() -> None:
    assert compute_layout(Inventory(), {}) == (SliceContent(FIRST),)


def test_large_devices_make_smaller_slices() -> None:
    fat = {f"attribute_{n}": "x" * 64 for n in range(32)}
    wide = Inventory(tuple(Device(f"d-{n}", fat) for n in range(128)))
    tainted_ = {d.name: tuple(taint(value=f"{'v' * 60}{n}") for n in range(16)) for d in wide.devices}
    contents = compute_layout(wide, tainted_)
    assert sum(sizes(contents)) == 128
    assert all(len(msgspec.json.encode(c.devices)) <= MAX_SLICE_BYTES for c in contents)


def test_a_change_of_one_device_changes_one_slice() -> None:
    inventory = partitioned(16)
    before = compute_layout(inventory, {})
    for name in ("npu-0", "npu-7-pe-4-4", inventory.devices[-1].name):
        after = compute_layout(inventory, {name: (taint(),)}, assigned(before))
        assert len([1 for a, b in zip(before, after, strict=True) if a != b]) == 1


def test_a_device_that_goes_or_comes_changes_one_slice() -> None:
    inventory = partitioned(16)
    before = compute_layout(inventory, {})
    rest = replace(inventory, devices=inventory.devices[:3] + inventory.devices[4:])
    without = compute_layout(rest, {}, assigned(before))
    assert len([1 for a, b in zip(before, without, strict=True) if a != b]) == 1
    # It comes back to the room it left, at its place in the order.
    assert compute_layout(inventory, {}, assigned(without)) == before


def test_slots_are_laid_out_anew_where_much_room_is_left() -> None:
    inventory = plain(128 * 5)
    before = compute_layout(inventory, {})
    few = Inventory(inventory.devices[::8])
    assert sizes(compute_layout(few, {}, assigned(before))) == [80]
    gone = Inventory(inventory.devices[128:])
    assert compute_layout(gone, {}, assigned(before))[0].slot == FIRST


@given(st.data())
def test_whatever_comes_and_goes_nothing_is_lost_and_order_holds_within_slices(data: st.DataObject) -> None:
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    everything = partitioned(12)
    previous: dict = {}
    for _ in range(data.draw(st.integers(1, 6))):
        part = replace(everything, devices=tuple(d for d in everything.devices if chance.random() < 0.7))
        taints = {d.name: (taint(),) for d in part.devices if chance.random() < 0.1}
        contents = compute_layout(part, taints, previous)
        names = [d.name for c in contents for d in c.devices]
        assert sorted(names) == sorted(d.name for d in part.devices)
        order = {d.name: n for n, d in enumerate(part.devices)}
        for content in contents:
            assert [order[d.name] for d in content.devices] == sorted(order[d.name] for d in content.devices)
            assert len(content.devices) <= 64
        assert len(contents) <= 2 * len(compute_layout(part, taints)) + 1
        assert contents[0].slot == FIRST
        previous = assigned(contents)


@given(inventories())
def test_layout_is_the_same_each_time(inventory: Inventory) -> None:
    once = compute_layout(inventory, {})
    assert compute_layout(inventory, {}, assigned(once)) == once
