"""The node's own uplink is never offered: neither when its files cannot be read nor when it is renamed meanwhile."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devices.vendors.network.hgx_tree import NODE_CARD, HgxServer, rail_bus_id, rail_chain
from devices.vendors.test_vendor_faults import ChangingHost
from fairlead.devices.errors import ProbeError
from fairlead.devices.inventory import PCI_BUS_ID
from fairlead.devices.vendors.network.facts import NetworkPort, NetworkPorts
from fairlead.devices.vendors.network.probe import read_ports
from fairlead.devices.vendors.network.vendor import NetworkVendor

UPLINK = f"{NODE_CARD}.0"
FOLDER = f"/sys/devices/pci0000:00/0000:00:01.0/{UPLINK}"
NAME = "ens1f0np0"
RAIL = rail_bus_id(0)


@pytest.fixture
def server(tmp_path: Path) -> HgxServer:
    return HgxServer(tmp_path, rails=1, infiniband=False)


@pytest.fixture
def in_memory() -> Iterator[HgxServer]:
    folder = tempfile.mkdtemp(prefix="machine-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    yield HgxServer(Path(folder), rails=1, infiniband=False)
    shutil.rmtree(folder)


def offered(found: NetworkPorts) -> set[str]:
    return {port.pci.bus_id for port in found.ports}


def rename(server: HgxServer, folder: str, old: str, new: str) -> None:
    """As the kernel does it: in the function's folder and in the class folder. Route tables say the new name."""
    server.path(f"{folder}/net/{old}").rename(server.path(f"{folder}/net/{new}"))
    server.remove(f"/sys/class/net/{old}")
    server.link(f"/sys/class/net/{new}", f"{folder}/net/{new}")


def lose_class_link(server: HgxServer) -> None:
    server.remove(f"/sys/class/net/{NAME}")


def cut_class_link(server: HgxServer) -> None:
    server.remove(f"/sys/class/net/{NAME}")
    server.path(f"/sys/class/net/{NAME}").symlink_to("nowhere/at/all")


def spoil_class_link(server: HgxServer) -> None:
    server.remove(f"/sys/class/net/{NAME}")
    server.write(f"/sys/class/net/{NAME}", "")


SPOILED = [lose_class_link, cut_class_link, spoil_class_link]


@pytest.mark.parametrize("spoil", SPOILED)
def test_an_uplink_that_only_its_function_tells_is_refused_alone(
    server: HgxServer, spoil: Callable[[HgxServer], None]
) -> None:
    spoil(server)
    assert offered(read_ports(server.host)) == {f"{NODE_CARD}.1", RAIL}


@pytest.mark.parametrize("spoil", SPOILED)
def test_while_nothing_tells_whose_the_uplink_is_nothing_is_offered(
    server: HgxServer, spoil: Callable[[HgxServer], None]
) -> None:
    seasoned = NetworkVendor(server.host)
    whole = seasoned.probe()
    spoil(server)
    server.remove(f"{FOLDER}/net/{NAME}")
    for vendor in (seasoned, NetworkVendor(server.host)):
        with pytest.raises(ProbeError, match=f"no port can be given away .*{NAME}: the node's default route runs over"):
            vendor.probe()
    if server.path(f"/sys/class/net/{NAME}").is_symlink() or server.path(f"/sys/class/net/{NAME}").exists():
        server.remove(f"/sys/class/net/{NAME}")
    server.interface(FOLDER, NAME)
    assert seasoned.probe() == whole


def test_a_route_over_an_interface_of_another_namespace_is_an_error(server: HgxServer) -> None:
    """A pod's /proc beside the node's /sys: the table says nothing of the node's uplink."""
    server.route("eth0")
    with pytest.raises(ProbeError, match="the driver must run in the node's network namespace"):
        read_ports(server.host)


def test_the_routes_of_another_namespace_with_the_same_names_are_an_error(server: HgxServer) -> None:
    """A pod's interface has the name of a port that is not the node's uplink."""
    server.route("ens10np0")
    head = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n"
    server.write("/proc/net/dev", f"{head}ens10np0: 0 0\n")
    with pytest.raises(ProbeError, match="/sys/class/net shows ens1f0np0 and /proc/net/dev does not"):
        read_ports(server.host)
    server.write("/proc/net/dev", f"{head}ens10np0: 0 0\nens1f0np0: 0 0\nens1f1np1: 0 0\n")
    assert offered(read_ports(server.host)) == {f"{NODE_CARD}.0", f"{NODE_CARD}.1"}


def test_a_part_of_a_bond_is_known_by_the_bond(server: HgxServer) -> None:
    server.virtual("bond0")
    server.route("bond0")
    server.link(f"/sys/devices/virtual/net/bond0/lower_{NAME}", f"{FOLDER}/net/{NAME}")
    cut_class_link(server)
    found = read_ports(server.host)
    assert offered(found) == {f"{NODE_CARD}.1", RAIL}
    assert [(skipped.name, skipped.by_rule) for skipped in found.skipped] == [(NetworkPort.name_of(UPLINK), False)]
    server.remove(f"{FOLDER}/net/{NAME}")
    with pytest.raises(ProbeError, match=f"{NAME}: is part of bond0"):
        read_ports(server.host)


def test_a_part_of_a_bond_tells_so_in_its_functions_folder(server: HgxServer) -> None:
    server.virtual("bond0")
    server.route("bond0")
    server.link(f"{FOLDER}/net/{NAME}/master", "/sys/devices/virtual/net/bond0")
    lose_class_link(server)
    assert UPLINK not in offered(read_ports(server.host))


def test_a_needed_function_stays_the_nodes_while_it_shows_no_interface(server: HgxServer) -> None:
    vendor = NetworkVendor(server.host)
    name = NetworkPort.name_of(UPLINK)
    vendor.probe()
    server.take_interface(FOLDER, NAME)
    server.route("ens1f1np1")
    for _ in range(3):
        assert vendor.probe().find(name) is None
    server.interface(FOLDER, "ens1f0new")
    device = vendor.probe().find(name)
    assert device is not None, "it shows an interface, and no route runs over that"
    assert device.attributes["ifName"] == "ens1f0new"


def test_a_needed_function_that_is_bound_to_vfio_is_the_nodes_no_longer(server: HgxServer) -> None:
    vendor = NetworkVendor(server.host)
    vendor.probe()
    server.take_interface(FOLDER, NAME)
    server.route("ens1f1np1")
    server.remove(f"{FOLDER}/driver")
    server.link(f"{FOLDER}/driver", "/sys/bus/pci/drivers/vfio-pci")
    server.path("/sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
    server.path("/sys/kernel/iommu_groups/7").mkdir(parents=True)
    server.link(f"{FOLDER}/iommu_group", "/sys/kernel/iommu_groups/7")
    assert vendor.probe().find(NetworkPort.name_of(UPLINK)) is not None


def test_a_card_whose_virtual_function_is_the_uplink_is_not_given_away(server: HgxServer) -> None:
    used, free = server.virtual_functions(rail_chain(0), 2)
    server.route("ens9v0")
    found = read_ports(server.host)
    assert offered(found) == {f"{NODE_CARD}.0", f"{NODE_CARD}.1", free}
    reasons = {skipped.name: skipped.reason for skipped in found.skipped}
    assert f"its virtual function {used} is the node's" in reasons[NetworkPort.name_of(RAIL)]


def test_a_virtual_function_that_hides_its_card_is_no_card_of_its_own(server: HgxServer) -> None:
    """It would be given away beside the card that it is a part of."""
    (vf,) = server.virtual_functions(rail_chain(0), 1)
    server.remove(f"/sys/bus/pci/devices/{vf}/physfn")
    assert vf not in offered(read_ports(server.host))


def _check_at_every_moment(server: HgxServer, happens: Callable[[], None], undo: Callable[[], None]) -> None:
    """Right before each read of a probe, by a fresh process and by one that knows the machine."""
    calm = ChangingHost(server.root, 0, lambda: None)
    NetworkVendor(calm).probe()
    answered = 0
    for seasoned in (False, True):
        offset = calm.reads if seasoned else 0
        for moment in range(1, calm.reads + 1):
            vendor = NetworkVendor(ChangingHost(server.root, offset + moment, happens))
            try:
                if seasoned:
                    vendor.probe()
                found = vendor.probe()
                answered += 1
                assert UPLINK not in {device.attributes[PCI_BUS_ID] for device in found.devices}, moment
                assert vendor.probe().devices, "and the next look finds the others"
            finally:
                undo()
    assert answered == 2 * calm.reads, "one rename is no error"


def test_an_uplink_renamed_at_any_moment_of_a_probe(in_memory: HgxServer) -> None:
    server = in_memory

    def happens() -> None:
        rename(server, FOLDER, NAME, "uplink0")
        server.route("uplink0")

    def undo() -> None:
        if server.path(f"{FOLDER}/net/uplink0").exists():
            rename(server, FOLDER, "uplink0", NAME)
            server.route(NAME)

    _check_at_every_moment(server, happens, undo)


def test_names_that_two_cards_swap_at_any_moment_of_a_probe(in_memory: HgxServer) -> None:
    """As udev does it on a node whose cards were found in another order."""
    server = in_memory
    rail = f"/sys/devices/{rail_chain(0)}"
    swapped = False

    def swap() -> None:
        nonlocal swapped
        ours, theirs = ("ens10np0", NAME) if swapped else (NAME, "ens10np0")
        rename(server, FOLDER, ours, "tmp0")
        rename(server, rail, theirs, ours)
        rename(server, FOLDER, "tmp0", theirs)
        server.route(theirs)
        swapped = not swapped

    _check_at_every_moment(server, swap, lambda: swap() if swapped else None)
