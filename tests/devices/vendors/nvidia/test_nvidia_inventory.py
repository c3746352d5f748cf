from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.vendors.nvidia.nvml_machine import (
    A100_MIG,
    BRIDGED,
    CLUSTER,
    GB200,
    H100,
    RTX,
    Model,
    NvidiaMachine,
    bus_id,
    uuid,
)
from fairlead.devices.inventory import Device, Inventory, Version
from fairlead.devices.slices.rules import check_inventory
from fairlead.devices.vendors.nvidia.facts import Gpus
from fairlead.devices.vendors.nvidia.inventory import Offer, Partition, build, partitions
from fairlead.devices.vendors.nvidia.nvml import Nvml
from fairlead.devices.vendors.nvidia.probe import read_gpus
from fairlead.kube.quantity import Quantity

DYNAMIC = Offer(dynamic_mig=True)


def facts(root: Path, model: Model, count: int = 1) -> Gpus:
    machine = NvidiaMachine(root, model, count)
    return read_gpus(Nvml(machine.replay()), machine.host)


@pytest.mark.parametrize("model", [H100, A100_MIG, GB200, RTX, BRIDGED], ids=lambda model: model.name)
@pytest.mark.parametrize("offer", [Offer(), DYNAMIC, Offer(True, "memory"), Offer(True, 4), Offer(False, "unlimited")])
def test_the_api_takes_every_machine(tmp_path: Path, model: Model, offer: Offer) -> None:
    check_inventory(build(facts(tmp_path, model, 8), offer), driver="gpu.nvidia.com")


def test_a_gpu_of_an_hgx_board(tmp_path: Path) -> None:
    inventory = build(facts(tmp_path, H100, 8))
    assert [device.name for device in inventory.devices] == [f"gpu-{minor}" for minor in range(8)]
    device = inventory.find("gpu-7")
    assert device is not None
    assert device.attributes == {
        "type": "gpu",
        "uuid": uuid(0),
        "index": 0,
        "minor": 7,
        "gpuModuleID": 1,
        "nvlinkDomain": uuid(7),
        "pcieSwitch": "0000:60:00.0",
        "socket": 0,
        "productName": "NVIDIA H100 80GB HBM3",
        "brand": "Nvidia",
        "architecture": "Hopper",
        "cudaComputeCapability": "9.0.0",
        "driverVersion": "580.95.5",
        "cudaDriverVersion": "13.0.0",
        "resource.kubernetes.io/pciBusID": bus_id(0),
        "resource.kubernetes.io/pcieRoot": "pci0000:10",
        "resource.kubernetes.io/numaNode": 0,
        "fairlead.dev/pcieSwitch": "0000:60:00.0",
        "fairlead.dev/socket": 0,
    }
    assert isinstance(device.attributes["driverVersion"], Version)
    assert device.capacity["memory"].value == "81559Mi"
    assert {(link.kind, link.score) for link in inventory.links} == {("NV18", 70)}
    assert len(inventory.links) == 28


def test_a_rack_has_one_domain_by_cluster_and_clique(tmp_path: Path) -> None:
    device = build(facts(tmp_path, GB200, 4)).devices[0]
    assert device.attributes["clusterUUID"] == CLUSTER
    assert device.attributes["cliqueID"] == 32766
    assert device.attributes["nvlinkDomain"] == f"{CLUSTER}.32766"
    assert device.attributes["addressingMode"] == "ATS"


def test_a_card_without_nvlink_ecc_or_mig(tmp_path: Path) -> None:
    inventory = build(facts(tmp_path, RTX, 2), DYNAMIC)
    assert [device.name for device in inventory.devices] == ["gpu-0", "gpu-1"]
    assert inventory.links == () and inventory.counters == {}
    assert not {"nvlinkDomain", "cliqueID", "gpuModuleID"} & inventory.devices[0].attributes.keys()


def test_bridged_cards_are_joined_in_pairs(tmp_path: Path) -> None:
    inventory = build(facts(tmp_path, BRIDGED, 4))
    assert {frozenset((link.a, link.b)) for link in inventory.links} == {
        frozenset(("gpu-0", "gpu-1")),
        frozenset(("gpu-2", "gpu-3")),
    }
    assert {link.kind for link in inventory.links} == {"NV12"}
    domains = {device.name: device.attributes["nvlinkDomain"] for device in inventory.devices}
    assert domains["gpu-0"] == domains["gpu-1"] != domains["gpu-2"] == domains["gpu-3"]


def test_partitions_have_upstreams_names(tmp_path: Path) -> None:
    inventory = build(facts(tmp_path, H100), DYNAMIC)
    names = [device.name for device in inventory.devices]
    assert names[0] == "gpu-0"
    assert {"gpu-0-mig-1g10gb-19-0", "gpu-0-mig-1g10gb-me-20-6", "gpu-0-mig-3g40gb-9-4"} <= set(names)
    assert len(names) == 1 + 7 + 3 + 2 + 1 + 1 + 7 + 4
    assert len(build(facts(tmp_path / "a100", A100_MIG), DYNAMIC).devices) == 25  # Its GPU needs a reset to be whole.


def test_names_are_put_together_where_nvml_has_none(tmp_path: Path) -> None:
    profiles = facts(tmp_path, A100_MIG).gpus[0].mig_profiles
    assert [profile.name for profile in profiles] == [
        "1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb", "1g.10gb+me", "1g.20gb",
    ]  # fmt: skip


def test_shares_of_memory(tmp_path: Path) -> None:
    device = build(facts(tmp_path, H100), Offer(shares=4)).devices[0]
    assert device.shareable
    policy = device.capacity["shares"].policy
    assert policy is not None and (policy.default, policy.max) == ("1", "4")
    whole = build(facts(tmp_path / "b", H100), Offer(shares="memory")).devices[0].capacity["memory"].policy
    assert whole is not None and whole.default == "81559Mi" and whole.min == "1Mi"


# Whatever the counters admit is a set of placements that lie apart, and the other way round.


def amounts(values: Mapping[str, str]) -> dict[str, int]:
    return {name: Quantity.parse(value).value for name, value in values.items()}


def admits(inventory: Inventory, devices: Iterable[Device]) -> bool:
    (name,) = inventory.counters
    left = amounts(inventory.counters[name])
    for device in devices:
        for counter, amount in amounts(device.consumes[name]).items():
            left[counter] -= amount
    return all(amount >= 0 for amount in left.values())


def lies_apart(chosen: Iterable[Partition]) -> bool:
    """NVML's own rules: placements do not overlap, and no profile has more instances than it may."""
    chosen = list(chosen)
    apart = not any(a.placement.overlaps(b.placement) for a, b in combinations(chosen, 2))
    return apart and all(
        sum(other.profile.id == one.profile.id for other in chosen) <= one.profile.instances for one in chosen
    )


@pytest.mark.parametrize("model", [H100, A100_MIG], ids=lambda model: model.name)
def test_counters_admit_just_the_placements_that_lie_apart(tmp_path: Path, model: Model) -> None:
    """Every set, by growing those that are admitted: a set with an inadmissible part is inadmissible."""
    read = facts(tmp_path, model)
    inventory = build(read, DYNAMIC)
    options = list(partitions(read.gpus[0]))
    devices = {option.name: inventory.find(option.name) for option in options}
    seen = 0
    growing: list[tuple[int, ...]] = [()]
    while growing:
        chosen = growing.pop()
        for index in range(chosen[-1] + 1 if chosen else 0, len(options)):
            grown = [*chosen, index]
            found = [device for device in (devices[options[i].name] for i in grown) if device is not None]
            assert len(found) == len(grown)
            allowed = admits(inventory, found)
            assert allowed == lies_apart(options[i] for i in grown), [device.name for device in found]
            seen += allowed
            if allowed:
                growing.append(tuple(grown))
    assert seen > 500


@given(st.sets(st.integers(min_value=0, max_value=24), min_size=1, max_size=3))
def test_a_whole_gpu_and_any_part_of_it_exclude_each_other(
    tmp_path_factory: pytest.TempPathFactory, parts: set[int]
) -> None:
    inventory = _h100(tmp_path_factory)
    whole = inventory.find("gpu-0")
    assert whole is not None
    chosen = [inventory.devices[1 + part] for part in parts]
    assert not admits(inventory, [whole, *chosen])
    assert admits(inventory, [whole])


_CACHE: dict[str, Inventory] = {}


def _h100(factory: pytest.TempPathFactory) -> Inventory:
    if "h100" not in _CACHE:
        _CACHE["h100"] = build(facts(factory.mktemp("h100"), H100), DYNAMIC)
    return _CACHE["h100"]
