"""A simulated vendor: the vendor's own devices, the same every time, without hardware behind them."""

from __future__ import annotations

import pytest

from fairlead.clock import VirtualClock, format_micro_time
from fairlead.devices.inventory import PCI_BUS_ID, PCIE_SWITCH, SOCKET
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.devices.vendors.simulated.failures import Failure
from fairlead.devices.vendors.simulated.fleet import builtin_fleets, parse_fleet
from fairlead.devices.vendors.simulated.vendor import DEVICES_VARIABLE, SIMULATED, SimulatedVendor, create_fleet

CLAIM = ClaimReference("default", "c", "uid-1")


def rngd(clock: VirtualClock | None = None) -> SimulatedVendor:
    (vendor,) = create_fleet("rngdx8", ["rngd-0"], clock=clock or VirtualClock())
    return vendor


@pytest.mark.parametrize("name", builtin_fleets())
def test_a_fleet_is_the_same_every_time_and_no_two_devices_are_one(name: str) -> None:
    first, second = create_fleet(name), create_fleet(name)
    assert [(v.node, v.driver) for v in first] == [(v.node, v.driver) for v in second]
    assert [v.probe() for v in first] == [v.probe() for v in second]
    uuids = [d.attributes["uuid"] for v in first for d in v.probe().devices if "uuid" in d.attributes and not d.parent]
    assert len(set(uuids)) == len(uuids)


def test_another_seed_is_another_fleet() -> None:
    text = "seed: {}\nnodes: [{{name: n, devices: [{{model: rngd}}]}}]"
    one, other = (create_fleet(parse_fleet(text.format(seed), "f"))[0].probe() for seed in ("a", "b"))
    assert one.devices[0].attributes["uuid"] != other.devices[0].attributes["uuid"]


@pytest.mark.parametrize("name", builtin_fleets())
def test_every_device_says_that_it_is_simulated_and_where_it_is(name: str) -> None:
    for vendor in create_fleet(name):
        for device in vendor.probe().devices:
            assert device.attributes[SIMULATED] is True
            assert len(device.attributes) + len(device.capacity) <= 32


@pytest.mark.parametrize("name", builtin_fleets())
def test_no_container_gets_what_this_machine_lacks(name: str) -> None:
    for vendor in create_fleet(name):
        edits = [vendor.edits(device) for device in vendor.probe().devices]
        edits += [vendor.common_edits(), *vendor.extra_cdi_devices().values()]
        assert any(one.device_nodes for one in edits), vendor.driver
        for one in edits:
            assert all(node.host_path == "/dev/null" for node in one.device_nodes)
            assert not (one.mounts or one.hooks or one.net_devices or one.intel_rdt)


def test_a_mixed_fleet_has_a_driver_for_each_vendor() -> None:
    drivers = {vendor.driver for vendor in create_fleet("mixed")}
    assert drivers >= {"gpu.nvidia.com", "npu.furiosa.ai", "gpu.amd.com", "tpu.google.com"}


def test_four_cards_are_under_one_socket_and_two_under_one_switch() -> None:
    cards = [device for device in rngd().probe().devices if not device.parent]
    assert [sum(c.attributes[SOCKET] == socket for c in cards) for socket in (0, 1)] == [4, 4]
    switches = [card.attributes[PCIE_SWITCH] for card in cards]
    assert all(switches.count(switch) == 2 for switch in switches)


def test_nothing_changes_while_nothing_is_ordered() -> None:
    vendor = rngd()
    assert vendor.probe() is vendor.probe() and vendor.health() is vendor.health()
    assert {health.state for health in vendor.health().values()} == {"healthy"}
    assert set(vendor.health()) == {device.name for device in vendor.probe().devices}


def test_an_order_is_told_at_once_and_healed_again() -> None:
    clock, looks = VirtualClock(), []
    vendor = rngd(clock)
    vendor.on_change(lambda: looks.append(1))
    failure = Failure("taint", format_micro_time(clock.wall_s()))
    vendor.set_failures({"npu3": failure})
    vendor.set_failures({"npu3": failure})
    assert len(looks) == 1
    unhealthy = {name for name, health in vendor.health().items() if health.state == "unhealthy"}
    assert unhealthy == {device.name for device in vendor.probe().devices if "npu3" in (device.name, device.parent)}
    assert len(unhealthy) == 15
    vendor.set_failures({})
    assert {health.state for health in vendor.health().values()} == {"healthy"}


def test_a_card_that_vanishes_takes_parts_and_counters_along_and_comes_back() -> None:
    clock = VirtualClock()
    vendor = rngd(clock)
    before = vendor.probe()
    vendor.set_failures({"npu3": Failure("vanish", format_micro_time(clock.wall_s()))})
    after = vendor.probe()
    assert len(before.devices) - len(after.devices) == 15
    assert set(before.counters) - set(after.counters) == {"npu3"}
    assert not any("npu3" in (link.a, link.b) for link in after.links)
    assert vendor.health()["npu3"].reason == "Vanished"
    vendor.set_failures({})
    assert vendor.probe() is not after and vendor.probe() == before


async def test_a_failure_that_ends_by_itself() -> None:
    clock = VirtualClock()
    vendor = rngd(clock)
    now_s = clock.wall_s()
    vendor.set_failures({"npu0": Failure("taint", format_micro_time(now_s), until=format_micro_time(now_s + 30))})
    assert vendor.changes_at_s() == now_s + 30
    await clock.advance(29)
    assert vendor.health()["npu0"].state == "unhealthy"
    await clock.advance(1)
    assert vendor.health()["npu0"].state == "healthy"


def test_a_claims_processes_are_told_what_they_got() -> None:
    vendor = rngd()
    devices = {device.name: device for device in vendor.probe().devices}
    grants = [Grant(devices[name], "r") for name in ("npu2", "npu0pe0-3")]
    env = dict(variable.split("=", 1) for variable in vendor.prepare(CLAIM, grants).edits.env)
    assert env[DEVICES_VARIABLE] == "npu.furiosa.ai/npu2,npu.furiosa.ai/npu0pe0-3"
    assert env["FURIOSA_DEVICES"] == "npu:0:0-3,npu:2"
    vendor.release(CLAIM, ["npu2", "npu0pe0-3"])


def test_a_slow_device_is_waited_for_until_the_end() -> None:
    clock = VirtualClock()
    vendor = rngd(clock)
    vendor.set_failures({"npu0": Failure("slow", format_micro_time(clock.wall_s()), delay_seconds=3600)})
    vendor.close()
    grant = Grant(next(device for device in vendor.probe().devices if device.name == "npu0"), "r")
    assert vendor.prepare(CLAIM, [grant]).edits.env


def test_gpus_of_one_hive_are_joined_each_with_every_other() -> None:
    vendor = next(v for v in create_fleet("mi300x8") if v.driver == "gpu.amd.com")
    found = vendor.probe()
    assert [device.name for device in found.devices] == [f"gpu-{n}-{127 + n}" for n in range(1, 9)]
    assert len(found.links) == 28 and {link.kind for link in found.links} == {"XGMI"}
    device = found.devices[0]
    assert device.attributes["type"] == "amdgpu" and device.capacity["memory"].value == "192Gi"
    assert [node.path for node in vendor.edits(device).device_nodes] == ["/dev/dri/card1", "/dev/dri/renderD128"]
    grants = [Grant(found.devices[n], "r") for n in (3, 5)]
    assert "ROCR_VISIBLE_DEVICES=0,1" in vendor.prepare(CLAIM, grants).edits.env


def test_an_amd_gpu_has_the_attributes_of_the_rocm_driver() -> None:
    (vendor,) = (vendor for vendor in create_fleet("mi300x8")[:2] if vendor.driver == "gpu.amd.com")
    device = vendor.probe().devices[0]
    assert device.name == f"gpu-{device.attributes['cardIndex']}-{device.attributes['renderIndex']}"
    assert device.attributes["productName"] == "AMD_Instinct_MI300X_OAM"
    assert device.attributes["pciAddr"] == device.attributes[PCI_BUS_ID]
    assert device.attributes["family"] == "AI"


def test_engines_of_an_a100_are_those_that_nvidia_smi_lists() -> None:
    """Video engines are scarce there: a 1g.10gb has none, and there are five decoders for all."""
    text = "nodes: [{name: n, devices: [{model: a100-sxm-80gb, mig: true}]}]"
    (vendor,) = create_fleet(parse_fleet(text, "f"))
    decoders = {d.attributes["profile"]: d.capacity["decoders"].value for d in vendor.probe().devices}
    assert decoders == {
        "1g.10gb": "0",
        "1g.10gb+me": "1",
        "1g.20gb": "1",
        "2g.20gb": "1",
        "3g.40gb": "2",
        "4g.40gb": "2",
        "7g.80gb": "5",
    }
