from itertools import combinations
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from devices.vendors.network.hgx_tree import HgxServer, rail_bus_id, rail_chain
from fairlead.devices.host import PciFunction
from fairlead.devices.inventory import Device, Inventory, Version
from fairlead.devices.slices.rules import check_inventory
from fairlead.devices.vendors.network.facts import Interface, NetworkPort, NetworkPorts, RdmaPort, VirtualFunction
from fairlead.devices.vendors.network.inventory import build
from fairlead.devices.vendors.network.probe import read_ports


def device(inventory: Inventory, bus_id: str) -> Device:
    found = inventory.find(NetworkPort.name_of(bus_id))
    assert found is not None
    return found


def test_attributes_of_a_rail(tmp_path: Path) -> None:
    rail = device(build(read_ports(HgxServer(tmp_path).host)), rail_bus_id(5))

    assert rail.attributes == {
        "kind": "pf",
        "linkType": "infiniband",
        "virtual": False,
        "rdma": True,
        "rdmaDevice": "mlx5_5",
        "rdmaPort": 1,
        "nodeGUID": "946d:ae03:0000:0001",
        "firmwareVersion": Version("28.39.1002"),
        "driver": "mlx5_core",
        "vendor": "15b3",
        "pciVendor": "15b3",
        "pciDevice": "1021",
        "pciAddress": "0000:64:00.0",
        "ifName": "ibp5s0",
        "mac": "00:00:10:29:fe:80:00:00:00:00:00:00:94:6d:ae:03:00:00:00:01",
        "mtu": 4092,
        "state": "up",
        "encapsulation": "infiniband",
        "sriov": False,
        "isSriovVf": False,
        "pcieSwitch": "0000:61:00.0",
        "socket": 1,
        "resource.kubernetes.io/pcieRoot": "pci0000:60",
        "resource.kubernetes.io/pciBusID": "0000:64:00.0",
        "resource.kubernetes.io/numaNode": 1,
        "fairlead.dev/pcieSwitch": "0000:61:00.0",
        "fairlead.dev/socket": 1,
    }
    assert rail.capacity["bandwidth"].value == "400G"
    assert rail.consumes == {}


def test_a_virtual_function_names_its_card(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    _, second = server.virtual_functions(rail_chain(0), 2)
    inventory = build(read_ports(server.host))
    physical, virtual = device(inventory, rail_bus_id(0)), device(inventory, second)

    assert (physical.attributes["sriov"], physical.attributes["numVFs"], physical.attributes["sriovVfs"]) == (
        True,
        2,
        2,
    )
    assert (virtual.attributes["isSriovVf"], virtual.attributes["vfIndex"]) == (True, 1)
    assert (virtual.attributes["pfName"], virtual.attributes["kind"]) == ("ens10np0", "vf")
    assert "numVFs" not in virtual.attributes
    name = physical.name
    assert inventory.counters == {name: {"vfs": "2"}}
    assert physical.consumes == {name: {"vfs": "2"}}
    assert virtual.consumes == {name: {"vfs": "1"}}


def test_virtual_functions_of_a_card_that_the_node_needs(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    vfs = server.virtual_functions(rail_chain(0), 2)
    server.route("ens10np0")
    inventory = build(read_ports(server.host))

    assert inventory.find(NetworkPort.name_of(rail_bus_id(0))) is None
    assert inventory.counters == {NetworkPort.name_of(rail_bus_id(0)): {"vfs": "2"}}
    assert device(inventory, vfs[0]).attributes["pfName"] == NetworkPort.name_of(rail_bus_id(0))


def test_a_card_and_its_virtual_functions_are_never_both_given_away(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1)
    server.virtual_functions(rail_chain(0), 4)
    inventory = build(read_ports(server.host))
    members = [device for device in inventory.devices if device.consumes]
    (name, counters), *_ = inventory.counters.items()
    assert len(members) == 5
    for size in range(1, 6):
        for chosen in combinations(members, size):
            used = sum(int(member.consumes[name]["vfs"]) for member in chosen)
            with_card = any(member.attributes["kind"] == "pf" for member in chosen)
            assert (used <= int(counters["vfs"])) is (not with_card or size == 1)


texts = st.text(max_size=80)
pci_functions = st.builds(
    PciFunction,
    bus_id=st.integers(0, 255).map(lambda bus: f"0000:{bus:02x}:00.0"),
    root=st.just("pci0000:10"),
    switch=st.none() | st.just("0000:11:00.0"),
    vendor=texts,
    device=texts,
    numa_node=st.none() | st.integers(0, 7),
    socket=st.none() | st.integers(0, 3),
)
ports = st.builds(
    NetworkPort,
    pci=pci_functions,
    port=st.integers(0, 1),
    interface=st.none()
    | st.builds(
        Interface,
        name=texts,
        mac=texts,
        mtu=st.integers(0, 65535),
        alias=texts,
        speed_mbps=st.none() | st.integers(1, 800_000),
    ),
    rdma=st.none() | st.builds(RdmaPort, device=texts, port=st.integers(1, 2), node_guid=texts, firmware=texts),
    driver=texts,
    virtual=st.none()
    | st.builds(
        VirtualFunction,
        physical=st.integers(0, 255).map(lambda bus: f"0000:{bus:02x}:00.0"),
        number=st.integers(0, 255),
    ),
    total_vfs=st.integers(0, 255),
    vfs=st.integers(0, 255),
)


@given(st.lists(ports, max_size=20, unique_by=lambda port: port.name))
def test_whatever_the_files_say_the_inventory_keeps_the_rules_of_the_api(found: list[NetworkPort]) -> None:
    check_inventory(build(NetworkPorts(tuple(found))), driver="dra.net")


cards = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.sets(st.integers(0, 3), max_size=4)), min_size=1, max_size=2
)


@given(cards)
def test_every_set_that_the_counters_admit_is_physically_disjoint(
    found: list[tuple[bool, int, set[int]]],
) -> None:
    """Every set of devices of up to two cards: whether the card itself is offered, how many virtual functions it says
    it has, and which are there, need not agree."""
    members: list[NetworkPort] = []
    for number, (is_offered, told, virtual) in enumerate(found):
        bus = f"0000:{number + 16:02x}"
        card = PciFunction(f"{bus}:00.0", "pci0000:10", None, "15b3", "1021", 0, 0)
        if is_offered:
            members.append(NetworkPort(card, driver="mlx5_core", total_vfs=16, vfs=told))
        for index in sorted(virtual):
            pci = PciFunction(f"{bus}:01.{index}", "pci0000:10", None, "15b3", "101e", 0, 0)
            members.append(NetworkPort(pci, driver="mlx5_core", virtual=VirtualFunction(card.bus_id, index)))
    inventory = build(NetworkPorts(tuple(members)))
    limits = {name: int(counters["vfs"]) for name, counters in inventory.counters.items()}
    for mask in range(1, 1 << len(members)):
        chosen = [port for bit, port in enumerate(members) if mask >> bit & 1]
        used: dict[str, int] = {}
        for bit, device in enumerate(inventory.devices):
            for name, amounts in device.consumes.items() if mask >> bit & 1 else ():
                used[name] = used.get(name, 0) + int(amounts["vfs"])
        whole = {port.pci.bus_id for port in chosen if port.virtual is None}
        parts = {port.virtual.physical for port in chosen if port.virtual is not None}
        assert all(amount <= limits[name] for name, amount in used.items()) is whole.isdisjoint(parts)
