"""What is published to servers that do not store everything: less, but never a lie."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from devices.slices.slice_inventories import DRIVER, partitioned, taint, tainted
from devices.slices.slice_model import POOL
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.slices.features import ALL_FEATURES, Features, discover, reduced
from fairlead.devices.slices.layout import compute_layout
from fairlead.devices.slices.rules import check_inventory
from fairlead.kube.client import Client
from fairlead.kube.kinds import RESOURCE_SLICES
from fairlead.kube.quantity import ZERO, parse_quantity

features = st.builds(Features, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans())


async def test_the_server_is_asked_without_a_trace(client: Client) -> None:
    found = await discover(client, POOL.driver, POOL.node)
    assert (found.taints, found.counters, found.conditions, found.shares) == (True, True, True, True)
    assert set(found.missing) <= {"DRAListTypeAttributes"}
    left = (await client.list(RESOURCE_SLICES, field_selector=f"spec.driver={POOL.driver}")).items
    assert left == []


@given(tainted(lists=True), features)
def test_a_reduced_inventory_is_valid_and_has_nothing_the_server_drops(given_: tuple, has: Features) -> None:
    inventory, taints = reduced(*given_, has)
    check_inventory(inventory, taints, driver=DRIVER)
    for content in compute_layout(inventory, taints):
        assert has.counters or not content.counter_sets
        for device in content.devices:
            assert has.taints or not device.taints
            assert has.counters or not device.consumes_counters
            assert has.conditions or not (device.binding_conditions or device.binding_failure_conditions)
            assert has.shares or not device.allow_multiple_allocations
            assert has.lists or not any(a.ints or a.strings or a.versions for a in device.attributes.values())


@given(tainted(max_devices=20))
def test_without_counters_only_what_fits_side_by_side_is_left(given_: tuple) -> None:
    inventory, _ = given_
    left, _ = reduced(inventory, {}, Features(counters=False))
    before = {device.name: device for device in inventory.devices}
    used: Counter = Counter()
    total = {(s, c): parse_quantity(v) for s, of_set in inventory.counters.items() for c, v in of_set.items()}
    sums = dict.fromkeys(total, ZERO)
    for device in left.devices:
        used[device.name] += 1
        for set_name, consumed in before[device.name].consumes.items():
            for counter, value in consumed.items():
                sums[set_name, counter] = sums[set_name, counter] + parse_quantity(value)
    assert all(sums[key] <= total[key] for key in total)
    assert set(used) <= set(before)
    # Who uses no counters is never left out.
    assert {d.name for d in inventory.devices if not d.consumes} <= set(used)


def test_without_counters_whole_cards_are_left_in_their_order() -> None:
    left, taints = reduced(partitioned(3), {"npu-1": (taint(),), "npu-1-pe-0-1": (taint(),)}, Features(counters=False))
    assert [d.name for d in left.devices] == ["npu-0", "npu-1", "npu-2"]
    assert left.counters == {}
    assert set(taints) == {"npu-1"}


def test_without_taints_what_new_pods_are_kept_from_is_left_out() -> None:
    marks = {
        "npu-0": (taint(effect="None"),),
        "npu-1": (taint(effect="NoSchedule"),),
        "npu-2": (taint(effect="NoExecute"),),
    }
    left, taints = reduced(partitioned(4), marks, Features(taints=False))
    wholes = [d.name for d in left.devices if not d.parent]
    assert (wholes, taints) == (["npu-0", "npu-3"], {})
    assert left.counters == partitioned(4).counters
    # The partitions of a card that is left out are no substitute for it: a claim may hold the card.
    left, _ = reduced(partitioned(2), marks, Features(taints=False, counters=False))
    assert [d.name for d in left.devices] == ["npu-0"]


def test_partitions_that_fit_are_left_where_nothing_is_whole() -> None:
    halves = [Device(f"h-{n}", consumes={"card": {"pe": "4"}}, parent="card") for n in range(3)]
    left, _ = reduced(Inventory(tuple(halves), {"card": {"pe": "8"}}), {}, Features(counters=False))
    assert [d.name for d in left.devices] == ["h-0", "h-1"]


def test_nothing_changes_where_everything_is_stored() -> None:
    inventory = partitioned(2)
    assert reduced(inventory, {}, ALL_FEATURES) == (inventory, {})
    assert ALL_FEATURES.missing == ()
    assert Features(taints=False).missing == ("DRADeviceTaints",)
