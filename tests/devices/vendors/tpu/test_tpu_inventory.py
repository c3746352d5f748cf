from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.vendors.tpu.tpu_facts import host
from devices.vendors.tpu.tpu_tree import TpuMachine
from fairlead.devices.inventory import Inventory
from fairlead.devices.slices.rules import check_inventory
from fairlead.devices.vendors.tpu.facts import GENERATIONS, TPU7X, V4, V5E, V6E, Generation, Slice, TpuHost
from fairlead.devices.vendors.tpu.inventory import build, chip_groups, group_name
from fairlead.devices.vendors.tpu.probe import read_host


def names(inventory: Inventory) -> list[str]:
    return [device.name for device in inventory.devices]


def test_chips_of_a_multi_host_slice(tmp_path: Path) -> None:
    environment = {
        "TPU_ACCELERATOR_TYPE": "v5litepod-16",
        "TPU_TOPOLOGY": "4x4",
        "TPU_WORKER_ID": "3",
    }
    inventory = build(read_host(TpuMachine(tmp_path, "v5litepod", 4).host, environment), "node-1")

    assert names(inventory) == ["vfio30", "vfio27", "vfio24", "vfio21"]
    attributes = dict(inventory.devices[1].attributes)
    assert str(attributes.pop("uuid")).startswith("tpu-")
    assert attributes == {
        "type": "chip",
        "index": 1,
        "tpuGen": "v5litepod",
        "brand": "Google",
        "accelerator": "tpu-v5-lite-podslice",
        "acceleratorType": "v5litepod-16",
        "chipCount": 4,
        "topology": "4x4",
        "workerID": 3,
        "workerX": 1,
        "workerY": 1,
        "workerZ": 0,
        "x": 3,
        "y": 2,
        "z": 0,
        "socket": 0,
        "fairlead.dev/socket": 0,
        "resource.kubernetes.io/pcieRoot": "pci0000:00",
        "resource.kubernetes.io/pciBusID": "0000:00:05.0",
        "resource.kubernetes.io/numaNode": 0,
    }
    assert {name: capacity.value for name, capacity in inventory.devices[0].capacity.items()} == {
        "memory": "16Gi",
        "chips": "1",
        "cores": "1",
    }
    assert inventory.counters == {}


def test_what_the_platform_does_not_tell_is_no_attribute() -> None:
    attributes = build(host(V4, 4), "node-1").devices[0].attributes

    assert attributes["tpuGen"] == "v4"
    told = {"accelerator", "acceleratorType", "topology", "workerID", "workerX", "x", "y", "z"}
    assert not told & attributes.keys()


def test_every_chip_of_a_slice_has_a_place_of_its_own() -> None:
    """v4-64: 4x4x2 chips on eight hosts of 2x2x1."""
    places = [
        (device.attributes["x"], device.attributes["y"], device.attributes["z"])
        for worker in range(8)
        for device in build(host(V4, 4, Slice(topology=(4, 4, 2), worker=worker)), f"node-{worker}").devices
    ]
    assert sorted(map(str, places)) == sorted(str((x, y, z)) for x in range(4) for y in range(4) for z in range(2))


def test_uuids_are_stable_and_differ_by_node_and_chip() -> None:
    once, again, elsewhere = (build(host(V6E, 8), node) for node in ("a", "a", "b"))
    assert once == again
    assert len({device.attributes["uuid"] for device in (*once.devices, *elsewhere.devices)}) == 16


def test_groups_of_chips_over_counters() -> None:
    inventory = build(host(V6E, 8), "node-1", groups=True)

    assert names(inventory)[8:] == [
        "chips-0-1",
        "chips-2-3",
        "chips-4-5",
        "chips-6-7",
        "chips-0-3",
        "chips-4-7",
        "chips-0-7",
    ]
    assert inventory.counters == {"chips": {f"chip{index}": "1" for index in range(8)}}
    four = inventory.find("chips-4-7")
    assert four is not None
    assert (four.attributes["groupSize"], four.attributes["resource.kubernetes.io/numaNode"]) == (4, 1)
    assert four.capacity["memory"].value == "128Gi"
    eight = inventory.find("chips-0-7")
    assert eight is not None
    assert "resource.kubernetes.io/numaNode" not in eight.attributes, "it spans two"


def test_counters_admit_exactly_the_sets_without_a_chip_given_twice() -> None:
    facts = host(V5E, 8)
    inventory = build(facts, "node-1", groups=True)
    chips = {device.name: {device.attributes["index"]} for device in inventory.devices[:8]}
    members: dict[str, set[int]] = {chip.name: {chip.index} for chip in facts.chips}
    members |= {group_name(group): {chip.index for chip in group} for group in chip_groups(facts)}
    assert chips.keys() <= members.keys()
    for mask in range(1 << len(inventory.devices)):
        chosen = [device for bit, device in enumerate(inventory.devices) if mask >> bit & 1]
        used: dict[str, int] = {}
        for device in chosen:
            for counter in device.consumes["chips"]:
                used[counter] = used.get(counter, 0) + 1
        overlap = any(members[a.name] & members[b.name] for a, b in combinations(chosen, 2))
        assert all(count <= 1 for count in used.values()) is not overlap


def test_a_host_without_one_of_its_chips_offers_no_groups() -> None:
    inventory = build(host(V6E, 7), "node-1", groups=True)
    assert len(inventory.devices) == 7
    assert inventory.counters == {}
    assert all(not device.consumes for device in inventory.devices)


def test_a_generation_that_cannot_be_divided_has_whole_hosts() -> None:
    assert names(build(host(TPU7X, 4), "node-1", groups=True))[4:] == ["chips-0-3"]


def test_chips_of_a_host_are_joined() -> None:
    assert {link.kind for link in build(host(V4, 4), "n").links} == {"ici"}
    assert len(build(host(V4, 4), "n").links) == 6


shapes = st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
slices = st.builds(
    Slice,
    accelerator_type=st.none() | st.text(max_size=80),
    accelerator=st.none() | st.text(max_size=80),
    topology=st.none() | shapes.map(lambda shape: (shape[0] * 2, shape[1] * 4, shape[2])),
    worker=st.none() | st.integers(0, 5000),
)


@given(st.sampled_from(GENERATIONS), st.integers(0, 9), slices, st.booleans(), st.text(max_size=20))
def test_inventories_keep_the_rules_of_the_api(
    generation: Generation, count: int, slice_: Slice, groups: bool, node: str
) -> None:
    check_inventory(build(host(generation, count, slice_), node, groups=groups), driver="tpu.google.com")


@pytest.mark.parametrize("groups", [False, True])
def test_no_chips_no_devices(groups: bool) -> None:
    assert build(TpuHost(), "node-1", groups=groups) == Inventory()
