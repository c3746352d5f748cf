from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from devices.vendors.network.hgx_tree import HgxServer, rail_bus_id, rail_chain
from fairlead.devices.cdi import spec as cdi
from fairlead.devices.cdi.rules import edit_problems, validate
from fairlead.devices.errors import ClaimError, ConfigError, ProbeError
from fairlead.devices.health import HEALTHY
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.devices.vendors.network.facts import NetworkPort
from fairlead.devices.vendors.network.probe import read_ports
from fairlead.devices.vendors.network.vendor import NetworkVendor, create

CLAIM = ClaimReference("team", "model", "uid-1")
OTHER = ClaimReference("team", "other", "uid-2")
RAIL = NetworkPort.name_of(rail_bus_id(0))


class RecordedLinks:
    """The tree's interfaces, renamed and configured in its files, with what was done to them (`test_links` has the
    kernel's side of it)."""

    def __init__(self, server: HgxServer, folder: str) -> None:
        self.server = server
        self.folder = folder
        self.done: list[tuple[object, ...]] = []
        self.fails: OSError | None = None

    def has(self, name: str) -> bool:
        return self.server.host.exists(f"/sys/class/net/{name}")

    def addresses(self, name: str) -> tuple[str, ...]:
        return ("10.9.0.1/24",)

    def configure(self, name: str, mtu: int | None, addresses: Sequence[str]) -> None:
        if self.fails:
            raise self.fails
        self.done.append(("configure", name, mtu, tuple(addresses)))
        if mtu is not None:
            self.server.write(f"/sys/class/net/{name}/mtu", f"{mtu}\n")

    def remove(self, name: str, addresses: Sequence[str]) -> None:
        self.done.append(("remove", name, tuple(addresses)))

    def rename(self, name: str, new_name: str) -> None:
        self.done.append(("rename", name, new_name))
        self.server.take_interface(self.folder, name)
        self.server.interface(self.folder, new_name)


class Rig:
    """A server with one rail of RoCE, its vendor, and what was done to the rail's interface."""

    def __init__(self, root: Path) -> None:
        self.server = HgxServer(root, rails=1, infiniband=False)
        self.folder = f"/sys/devices/{rail_chain(0)}"
        self.links = RecordedLinks(self.server, self.folder)
        self.vendor = NetworkVendor(self.server.host, links=self.links)
        self.vendor.probe()

    def grant(self, *config: Mapping[str, Any], device: str = RAIL) -> Grant:
        found = self.vendor.probe().find(device)
        assert found is not None
        return Grant(device=found, request="nic", config=config)

    def move_into_pod(self, name: str = "ens10np0") -> None:
        self.server.take_interface(self.folder, name)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def unwell(vendor: NetworkVendor) -> dict[str, tuple[str, str]]:
    return {name: (state.reason, state.effect) for name, state in vendor.health().items() if state != HEALTHY}


def test_device_files(rig: Rig) -> None:
    edits = rig.vendor.edits(rig.grant().device)

    assert [node.path for node in edits.device_nodes] == ["/dev/infiniband/uverbs0", "/dev/infiniband/umad0"]
    assert edits.env == [f"FAIRLEAD_NETWORK_PCI_0000_14_00_0={rail_bus_id(0)}"]
    assert [node.path for node in rig.vendor.common_edits().device_nodes] == ["/dev/infiniband/rdma_cm"]
    assert edits.net_devices == ()


def test_a_virtual_function_bound_to_vfio(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    (vf,) = server.virtual_functions(rail_chain(0), 1, vfio=frozenset({0}))
    vendor = NetworkVendor(server.host)
    device = vendor.probe().find(NetworkPort.name_of(vf))
    assert device is not None

    assert [node.path for node in vendor.edits(device).device_nodes] == ["/dev/vfio/vfio", "/dev/vfio/90"]
    prepared = vendor.prepare(CLAIM, [Grant(device, "nic", ({"vhostNet": True},))])
    edits = prepared.device_edits[device.name]
    assert [node.path for node in edits.device_nodes] == ["/dev/vhost-net", "/dev/net/tun"]
    assert edits.net_devices == ()
    assert prepared.reports[device.name].network is None


def test_the_specs_that_the_driver_writes_are_valid(tmp_path: Path) -> None:
    server = HgxServer(tmp_path)
    server.virtual_functions(rail_chain(0), 4, vfio=frozenset({1}))
    vendor = NetworkVendor(server.host, links=RecordedLinks(server, ""))
    devices = [cdi.Device(device.name, container_edits=vendor.edits(device)) for device in vendor.probe().devices]
    validate(cdi.Spec("0.6.0", vendor.cdi_kind, devices=devices, container_edits=vendor.common_edits()))
    rails = [Grant(device, "nic", ({"environment": True},)) for device in vendor.probe().devices[:3]]
    prepared = vendor.prepare(CLAIM, rails)
    for edits in (prepared.edits, *prepared.device_edits.values()):
        assert list(edit_problems(edits, "edits")) == []


def test_a_claim_takes_the_interface_and_says_what_became_of_it(rig: Rig) -> None:
    config = {"interface": {"name": "net1", "mtu": 9000, "addresses": ["10.0.0.5/24"]}}
    prepared = rig.vendor.prepare(CLAIM, [rig.grant(config)])

    assert rig.links.done == [("configure", "ens10np0", 9000, ("10.0.0.5/24",))]
    assert prepared.device_edits[RAIL].net_devices == [cdi.NetDevice(host_interface_name="ens10np0", name="net1")]
    report = prepared.reports[RAIL]
    assert (report.ready, report.conditions) == (True, ("Ready", "NetworkReady"))
    assert report.network is not None
    assert (report.network.interface_name, report.network.ips) == ("net1", ("10.0.0.5/24",))
    assert report.network.hardware_address.startswith("94:6d:ae")
    assert report.data["rdma"] == {"device": "mlx5_0", "port": 1, "linkLayer": "ethernet"}


def test_without_wishes_nothing_is_changed_and_its_own_addresses_are_told(rig: Rig) -> None:
    prepared = rig.vendor.prepare(CLAIM, [rig.grant()])

    assert rig.links.done == []
    assert prepared.device_edits[RAIL].net_devices == [cdi.NetDevice(host_interface_name="ens10np0", name="ens10np0")]
    assert prepared.reports[RAIL].network is not None
    assert prepared.reports[RAIL].network.ips == ("10.9.0.1/24",)


def test_rdma_only(rig: Rig) -> None:
    prepared = rig.vendor.prepare(CLAIM, [rig.grant({"rdmaOnly": True, "environment": True})])

    assert prepared.device_edits == {}
    assert prepared.edits.env == ["NCCL_IB_HCA==mlx5_0:1", "UCX_NET_DEVICES=mlx5_0:1"]
    assert prepared.reports[RAIL].network is None
    assert unwell(rig.vendor) == {}


def test_while_a_pod_has_the_interface_the_device_stays_as_it_was(rig: Rig) -> None:
    config = {"interface": {"name": "net1", "addresses": ["10.0.0.5/24"]}}
    before = rig.vendor.probe()
    first = rig.vendor.prepare(CLAIM, [rig.grant(config)])
    rig.move_into_pod()
    rig.server.write(f"{rig.folder}/infiniband/mlx5_0/ports/1/state", "1: DOWN\n")

    assert rig.vendor.probe() == before
    assert unwell(rig.vendor) == {}
    assert rig.vendor.prepare(CLAIM, [rig.grant(config)]) == first, "the kubelet may ask again while the pod runs"
    assert len(rig.links.done) == 1


def test_a_process_that_starts_while_a_pod_has_the_interface(rig: Rig) -> None:
    rig.vendor.prepare(CLAIM, [rig.grant()])
    rig.move_into_pod()
    again = NetworkVendor(rig.server.host, links=rig.links)
    again.resume({CLAIM.uid: [RAIL]})

    assert again.probe().find(RAIL) is not None
    assert unwell(again) == {}


def test_an_interface_without_rdma_that_a_pod_has(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    (vf,) = server.virtual_functions(rail_chain(0), 1)
    vendor = NetworkVendor(server.host, links=RecordedLinks(server, ""))
    device = vendor.probe().find(NetworkPort.name_of(vf))
    assert device is not None
    vendor.prepare(CLAIM, [Grant(device, "nic")])
    server.take_interface(server.host.link(f"/sys/bus/pci/devices/{vf}"), "ens9v0")

    assert vendor.probe().find(device.name) == device
    assert unwell(vendor) == {}
    vendor.release(CLAIM, [device.name])
    assert unwell(vendor) == {device.name: ("NoInterface", "NoSchedule")}, "nobody has it, and it is not back"


def test_an_rdma_device_that_moves_with_its_interface(rig: Rig) -> None:
    """RDMA devices can be bound to one network namespace (rdma system set netns exclusive)."""
    before = rig.vendor.probe()
    rig.vendor.prepare(CLAIM, [rig.grant()])
    rig.move_into_pod()
    rig.server.remove("/sys/class/infiniband/mlx5_0")

    assert rig.vendor.probe() == before
    assert unwell(rig.vendor) == {}
    rig.vendor.release(CLAIM, [RAIL])
    assert unwell(rig.vendor) == {RAIL: ("NoRdmaDevice", "NoSchedule")}


def test_an_interface_that_comes_back_gets_its_name_and_mtu_again(rig: Rig) -> None:
    rig.vendor.prepare(CLAIM, [rig.grant({"interface": {"name": "net1", "mtu": 9000}})])
    rig.move_into_pod()
    rig.vendor.release(CLAIM, [RAIL])
    assert len(rig.links.done) == 1, "it is not back yet"

    rig.server.interface(rig.folder, "net1")
    rig.server.write("/sys/class/net/net1/mtu", "9000\n")
    device = rig.vendor.probe().find(RAIL)
    assert rig.links.done[1:] == [("rename", "net1", "ens10np0"), ("configure", "ens10np0", 1500, ())]
    assert device is not None
    assert (device.attributes["ifName"], device.attributes["mtu"]) == ("ens10np0", 1500)
    rig.vendor.release(CLAIM, [RAIL])
    rig.vendor.probe()
    assert len(rig.links.done) == 3, "and only once"


def test_an_interface_that_is_gone_before_its_claim_is_prepared(rig: Rig) -> None:
    grant = rig.grant()
    rig.move_into_pod()
    with pytest.raises(ClaimError, match="interface ens10np0 of pci-0000-14-00-0 is not on the host now") as error:
        rig.vendor.prepare(CLAIM, [grant])
    assert error.value.retry


def test_a_kernel_that_refuses(rig: Rig) -> None:
    rig.links.fails = PermissionError(1, "Operation not permitted")
    with pytest.raises(ClaimError, match="Operation not permitted; the driver needs CAP_NET_ADMIN"):
        rig.vendor.prepare(CLAIM, [rig.grant({"interface": {"mtu": 9000}})])
    rig.links.fails = None
    assert rig.vendor.prepare(CLAIM, [rig.grant({"interface": {"mtu": 9000}})]).reports[RAIL].ready


def test_wishes_that_clash_change_nothing(rig: Rig) -> None:
    config = {"interface": {"name": "net1", "mtu": 9000}}
    with pytest.raises(ConfigError, match="would both be interface"):
        rig.vendor.prepare(CLAIM, [rig.grant(config), rig.grant(config, device="pci-0000-02-00-1")])
    assert rig.links.done == []


def test_health_of_links(rig: Rig) -> None:
    assert unwell(rig.vendor) == {}
    rig.server.write("/sys/class/net/ens10np0/carrier", "0\n")
    assert unwell(rig.vendor) == {RAIL: ("NoCarrier", "NoSchedule")}
    rig.server.write("/sys/class/net/ens10np0/carrier", "1\n")
    rig.server.write(f"{rig.folder}/infiniband/mlx5_0/ports/1/state", "2: INIT\n")
    assert unwell(rig.vendor) == {RAIL: ("PortNotActive", "NoSchedule")}
    rig.server.write("/sys/class/net/ens10np0/flags", "0x1002\n")
    assert unwell(rig.vendor) == {}, "an interface that nobody brought up says nothing of its link"


def test_health_of_infiniband(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1)
    vendor = NetworkVendor(server.host)
    vendor.probe()
    port = f"/sys/devices/{rail_chain(0)}/infiniband/mlx5_0/ports/1"
    server.write("/sys/class/net/ibp0s0/flags", "0x1002\n")
    server.write(f"{port}/state", "1: DOWN\n")
    assert unwell(vendor) == {RAIL: ("PortNotActive", "NoSchedule")}
    server.write(f"{port}/state", "4: ACTIVE\n")
    server.write(f"{port}/rate", "100 Gb/sec (1X NDR)\n")
    assert unwell(vendor) == {RAIL: ("PortDegraded", "NoSchedule")}
    server.write(f"{port}/state", "4")
    assert vendor.health()[RAIL].state == "unknown"


@pytest.mark.parametrize(("file", "text"), [("current_link_width", "8"), ("current_link_speed", "16.0 GT/s PCIe")])
def test_a_slow_pcie_link(rig: Rig, file: str, text: str) -> None:
    rig.server.write(f"{rig.folder}/{file}", f"{text}\n")
    assert unwell(rig.vendor) == {RAIL: ("PcieLinkDegraded", "NoSchedule")}


def test_a_port_that_something_else_took(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    (vf,) = server.virtual_functions(rail_chain(0), 1)
    vendor = NetworkVendor(server.host)
    vendor.probe()
    folder = server.host.link(f"/sys/bus/pci/devices/{vf}")
    server.take_interface(folder, "ens9v0")
    name = NetworkPort.name_of(vf)

    assert unwell(vendor) == {name: ("NoInterface", "NoSchedule")}
    device = vendor.probe().find(name)
    assert device is not None
    with pytest.raises(ClaimError, match="the host has no interface of"):
        vendor.prepare(OTHER, [Grant(device, "nic")])


def test_a_card_that_is_gone(rig: Rig) -> None:
    rig.server.remove(f"/sys/bus/pci/devices/{rail_bus_id(0)}")
    rig.server.remove("/sys/class/net/ens10np0")
    rig.server.remove("/sys/class/infiniband/mlx5_0")
    rig.server.remove(rig.folder)

    assert unwell(rig.vendor) == {RAIL: ("Vanished", "NoExecute")}
    assert rig.vendor.probe().find(RAIL) is None


def test_a_port_that_cannot_be_read_for_a_moment_stays(rig: Rig) -> None:
    before = rig.vendor.probe()
    rig.server.write("/sys/class/net/ens10np0/mtu", "")
    assert rig.vendor.probe() == before
    assert rig.vendor.health()[RAIL].reason == "Unreadable"


def test_a_port_that_the_node_comes_to_need(rig: Rig) -> None:
    rig.vendor.prepare(CLAIM, [rig.grant({"rdmaOnly": True})])
    rig.server.route("ens10np0")
    assert rig.vendor.probe().find(RAIL) is not None, "a claim has it"
    rig.vendor.release(CLAIM, [RAIL])
    assert rig.vendor.probe().find(RAIL) is None


def test_cards_of_which_none_can_be_described_are_an_error(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=0)
    for port in range(2):
        server.write(f"/sys/class/net/ens1f{port}np{port}/mtu", "")
    with pytest.raises(ProbeError, match="none of 2 network cards can be described"):
        NetworkVendor(server.host).probe()


def test_simulated_ports_are_well_and_touch_no_interface(tmp_path: Path) -> None:
    found = read_ports(HgxServer(tmp_path).host)
    vendor = NetworkVendor(facts=lambda: found)
    device = vendor.probe().devices[-1]

    assert set(vendor.health().values()) == {HEALTHY}
    config = {"interface": {"addresses": ["10.0.0.5/24"], "mtu": 2044}}
    assert vendor.prepare(CLAIM, [Grant(device, "nic", (config,))]).reports[device.name].network is not None
    vendor.release(CLAIM, [device.name])


def test_create_and_classes(rig: Rig) -> None:
    (vendor,) = create(rig.server.host, "node-1")
    assert vendor.driver == "dra.net"
    assert [cls["metadata"]["name"] for cls in vendor.device_classes()] == ["dra.net", "rdma.dra.net", "sriov.dra.net"]
