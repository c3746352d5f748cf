from pathlib import Path

import pytest

from devices.vendors.network.hgx_tree import NODE_CARD, HgxServer, rail_bus_id, rail_chain
from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.network.facts import NetworkPort, NetworkPorts, VirtualFunction
from fairlead.devices.vendors.network.probe import read_current, read_ports


def by_name(host: Host) -> dict[str, NetworkPort]:
    return {port.name: port for port in read_ports(host).ports}


def reasons(host: Host) -> dict[str, str]:
    return {skipped.name: skipped.reason for skipped in read_ports(host).skipped}


def test_the_ports_of_a_server(tmp_path: Path) -> None:
    found = read_ports(HgxServer(tmp_path).host)

    assert len(found.ports) == 9
    assert {skipped.name: skipped.by_rule for skipped in found.skipped} == {"pci-0000-02-00-0": True}
    assert found.common_nodes == ("/dev/infiniband/rdma_cm",)
    rail = next(port for port in found.ports if port.pci.bus_id == rail_bus_id(5))
    assert rail.name == "pci-0000-64-00-0"
    assert (rail.pci.root, rail.pci.switch, rail.pci.numa_node) == ("pci0000:60", "0000:61:00.0", 1)
    assert rail.interface is not None
    assert (rail.interface.name, rail.interface.link_layer, rail.interface.mtu) == ("ibp5s0", "infiniband", 4092)
    assert rail.rdma is not None
    assert (rail.rdma.device, rail.rdma.port, rail.rdma.state) == ("mlx5_5", 1, "ACTIVE")
    assert (rail.rdma.link_layer, rail.rdma.rate_gbps, rail.rdma.lanes) == ("infiniband", 400, 4)
    assert rail.rdma.nodes == ("uverbs5", "umad10")
    assert (rail.rdma.firmware, rail.driver) == ("28.39.1002", "mlx5_core")


def test_a_network_card_and_its_accelerator_share_a_switch(tmp_path: Path) -> None:
    server = HgxServer(tmp_path)
    for rail in range(8):
        gpu = server.host.pci(f"0000:{0x13 + 0x10 * rail:02x}:00.0")
        port = by_name(server.host)[NetworkPort.name_of(rail_bus_id(rail))]
        assert (gpu.switch, gpu.root, gpu.numa_node) == (port.pci.switch, port.pci.root, port.pci.numa_node)


def test_roce(tmp_path: Path) -> None:
    port = read_ports(HgxServer(tmp_path, rails=1, infiniband=False).host).ports[-1]

    assert port.rdma is not None
    assert port.interface is not None
    assert (port.rdma.link_layer, port.interface.link_layer) == ("ethernet", "ethernet")
    assert port.interface.speed_mbps == 400_000


def test_the_second_port_of_the_nodes_card_is_free(tmp_path: Path) -> None:
    """It has a function of its own, so it is the first port of that, whatever dev_port says."""
    server = HgxServer(tmp_path, rails=0)
    port = by_name(server.host)["pci-0000-02-00-1"]

    assert (port.port, port.interface and port.interface.name) == (0, "ens1f1np1")
    assert port.rdma is not None
    assert port.rdma.device == "mlx5_bond_1"


@pytest.mark.parametrize("family", ["route", "ipv6_route"])
def test_the_default_route_of_either_family(tmp_path: Path, family: str) -> None:
    server = HgxServer(tmp_path, rails=0)
    # IPv4's table keeps its heading; IPv6's goes with IPv6.
    server.remove(f"/proc/net/{family}")
    if family == "route":
        server.write("/proc/net/route", "Iface\tDestination\tGateway\n")
    assert reasons(server.host) == {"pci-0000-02-00-0": "ens1f0np0: the node's default route runs over it"}


def test_interfaces_that_others_are_made_of(tmp_path: Path) -> None:
    """The default route runs over a bond of both ports, and a VLAN over a rail."""
    server = HgxServer(tmp_path, rails=2, infiniband=False)
    server.virtual("bond0")
    server.route("bond0")
    for port in range(2):
        server.link(f"/sys/class/net/ens1f{port}np{port}/master", "/sys/devices/virtual/net/bond0")
    server.virtual("vlan7")
    server.link("/sys/class/net/ens10np0/upper_vlan7", "/sys/devices/virtual/net/vlan7")

    assert reasons(server.host) == {
        "pci-0000-02-00-0": "ens1f0np0: is part of bond0",
        "pci-0000-02-00-1": "ens1f1np1: is part of bond0",
        "pci-0000-14-00-0": "ens10np0: is part of vlan7",
    }


def test_virtual_functions(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1)
    vfs = server.virtual_functions(rail_chain(0), 3, vfio=frozenset({2}))
    found = by_name(server.host)

    physical = found[NetworkPort.name_of(rail_bus_id(0))]
    assert (physical.total_vfs, physical.vfs, physical.virtual) == (16, 3, None)
    ports = [found[NetworkPort.name_of(bus_id)] for bus_id in vfs]
    assert [port.virtual for port in ports] == [VirtualFunction(rail_bus_id(0), number) for number in range(3)]
    assert [port.interface and port.interface.name for port in ports] == ["ens9v0", "ens9v1", None]
    assert [port.vfio_group for port in ports] == [None, None, 92]
    assert ports[0].pci.switch == physical.pci.switch


def test_representors_and_subfunctions_are_no_ports(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    folder = f"/sys/devices/{rail_chain(0)}"
    server.interface(folder, "ens10pf0vf0", phys_port_name="pf0vf0")
    server.interface(f"{folder}/mlx5_core.sf.4", "ens10s88")

    port = by_name(server.host)[NetworkPort.name_of(rail_bus_id(0))]
    assert port.interface is not None
    assert port.interface.name == "ens10np0"


def test_an_old_card_with_two_ports_in_one_function(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=0)
    folder = server.pci(
        "pci0000:40/0000:40:01.0/0000:41:00.0", vendor="15b3", device="1007", pci_class="0x020000", driver="mlx4_core"
    )
    server.interface(folder, "ens4", dev_port=0)
    server.interface(folder, "ens4d1", dev_port=1)
    server.rdma(folder, "mlx4_0", infiniband=False, ports=2)
    found = by_name(server.host)

    one, two = found["pci-0000-41-00-0"], found["pci-0000-41-00-0-p1"]
    assert [port.interface and port.interface.name for port in (one, two)] == ["ens4", "ens4d1"]
    assert [port.rdma and port.rdma.port for port in (one, two)] == [1, 2]
    assert [port.rdma and port.rdma.nodes for port in (one, two)] == [("uverbs2", "umad4"), ("uverbs2", "umad5")]


def test_a_virtio_interface_hangs_off_its_function_by_a_bus_of_its_own(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=0)
    folder = server.pci(
        "pci0000:00/0000:00:05.0", vendor="1af4", device="1041", numa=-1, pci_class="0x020000", driver="virtio-pci"
    )
    server.interface(f"{folder}/virtio2", "eth1")

    port = by_name(server.host)["pci-0000-00-05-0"]
    assert (port.interface and port.interface.name, port.rdma, port.pci.numa_node) == ("eth1", None, None)


def test_a_link_that_is_down_tells_neither_carrier_nor_speed(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    server.write("/sys/class/net/ens10np0/flags", "0x1002\n")
    server.write("/sys/class/net/ens10np0/speed", "-1\n")
    # The kernel refuses to read these then; a folder refuses likewise.
    server.remove("/sys/class/net/ens10np0/carrier")
    server.path("/sys/class/net/ens10np0/carrier").mkdir()

    interface = by_name(server.host)[NetworkPort.name_of(rail_bus_id(0))].interface
    assert interface is not None
    assert (interface.is_up, interface.carrier, interface.speed_mbps) == (False, None, None)


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("/sys/class/net/ibp1s0/mtu", "", "expected a number"),
        ("/sys/class/net/ibp1s0/flags", "0x", "expected a number"),
        ("/sys/class/infiniband/mlx5_1/ports/1/state", "4:", "expected a state"),
    ],
)
def test_a_file_that_is_cut_off_hides_no_other_port(tmp_path: Path, path: str, text: str, reason: str) -> None:
    server = HgxServer(tmp_path, rails=3)
    server.write(path, text)

    name = NetworkPort.name_of(rail_bus_id(1))
    assert reason in reasons(server.host)[name]
    assert {NetworkPort.name_of(rail_bus_id(rail)) for rail in (0, 2)} <= by_name(server.host).keys()


def test_a_class_link_that_leads_nowhere(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1)
    server.link("/sys/class/net/gone0", "/sys/devices/pci0000:10/gone")
    server.link("/sys/class/infiniband/mlx5_9", "/sys/devices/pci0000:10/gone")

    assert len(read_ports(server.host).ports) == 2


def test_a_card_without_a_driver(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=0)
    server.pci("pci0000:40/0000:41:00.0", vendor="15b3", device="1021", pci_class="0x020000")

    assert "no driver" in reasons(server.host)["pci-0000-41-00-0"]


def test_a_virtual_function_that_its_card_does_not_know(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1)
    (vf,) = server.virtual_functions(rail_chain(0), 1)
    server.remove(f"/sys/devices/{rail_chain(0)}/virtfn0")

    assert f"no link to its virtual function {vf}" in reasons(server.host)[NetworkPort.name_of(vf)]


def test_a_machine_without_network_cards(tmp_path: Path) -> None:
    assert read_ports(Host(tmp_path)) == NetworkPorts()


def test_this_machine() -> None:
    """The real files: whatever is here must be readable, and the way out must not be offered."""
    found = read_ports(Host())
    assert all(port.interface is None or port.interface.mac for port in found.ports)
    routes = Path("/proc/net/route").read_text().splitlines()[1:]
    ways_out = {line.split()[0] for line in routes if line.split()[1] == "00000000"}
    assert not ways_out & {port.interface.name for port in found.ports if port.interface is not None}


def test_ports_as_they_are_now(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=3)
    ports = read_ports(server.host).ports
    gone, taken, cut = (next(p for p in ports if p.pci.bus_id == rail_bus_id(rail)) for rail in range(3))
    server.remove(f"/sys/bus/pci/devices/{gone.pci.bus_id}")
    server.take_interface(f"/sys/devices/{rail_chain(1)}", "ibp1s0")
    server.write("/sys/class/net/ibp2s0/mtu", "")
    now = read_current(server.host, ports)

    assert now[gone.name] is None
    found = now[taken.name]
    assert isinstance(found, NetworkPort)
    assert (found.interface, found.rdma) == (None, taken.rdma)
    assert isinstance(now[cut.name], ProbeError)
    assert now[NetworkPort.name_of(f"{NODE_CARD}.1")] in ports


def test_a_default_route_far_down_a_long_table_is_found(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    name = next(port.interface.name for port in read_ports(server.host).ports if port.interface is not None)
    flags = "00000400 00000001 00000000 00000001"
    line = f"20010db8000000000000000000{{:06x}} 80 {'0' * 32} 00 {'0' * 32} {flags} eth9\n"
    last = f"{'0' * 32} 00 {'0' * 32} 00 {'fe80':032} 00000400 00000001 00000000 00000003 {name}\n"
    server.write("/proc/net/ipv6_route", "".join(line.format(number) for number in range(2000)) + last)
    assert all(port.interface is None or port.interface.name != name for port in read_ports(server.host).ports)


@pytest.mark.parametrize("table", ["", "eth0\t00000000\n", "Iface\tDestination\neth0\t0000"])
def test_without_a_sound_route_table_nothing_is_offered(tmp_path: Path, table: str) -> None:
    """Which of the interfaces the node itself lives by would be a guess."""
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    server.write("/proc/net/route", table)
    with pytest.raises(ProbeError, match=r"^/proc/net/route: "):
        read_ports(server.host)
