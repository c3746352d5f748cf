"""From facts about network ports to devices: one for each port of a physical function, one for each virtual function.

A function with virtual ones and those draw on one counter set: handing out the physical function takes all of them, so
nobody gets a virtual function of a card that another has whole, and the other way round. (Two ports of one old function
that has virtual functions exclude each other, too.) Attributes are named as google/dranet names them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.devices.inventory import (
    NUMA_NODE,
    PCI_BUS_ID,
    PCIE_ROOT,
    PCIE_SWITCH,
    SOCKET,
    Attribute,
    Capacity,
    Device,
    Inventory,
)
from fairlead.devices.vendors.network.facts import NetworkPort, NetworkPorts
from fairlead.devices.vendors.versions import version
from fairlead.kube.quantity import Format, Quantity

COUNTER = "vfs"
_MAX_TEXT_BYTES = 64


def build(facts: NetworkPorts) -> Inventory:
    by_name = {port.name: port for port in facts.ports}
    sets = {NetworkPort.name_of(port.virtual.physical) for port in facts.ports if port.virtual is not None}
    sizes: dict[str, int] = {}
    for name in sorted(sets):
        used = sum(1 for port in facts.ports if _counter_set(port) == name and port.virtual is not None)
        physical = by_name.get(name)
        sizes[name] = max(used, 0 if physical is None else physical.vfs)
    return Inventory(
        tuple(_device(port, by_name, sizes) for port in facts.ports),
        {name: {COUNTER: str(size)} for name, size in sizes.items()},
    )


def _counter_set(port: NetworkPort) -> str:
    return NetworkPort.name_of(port.virtual.physical if port.virtual is not None else port.pci.bus_id)


def _device(port: NetworkPort, by_name: Mapping[str, NetworkPort], sizes: Mapping[str, int]) -> Device:
    name = _counter_set(port)
    size = sizes.get(name)
    amount = size if port.virtual is None else 1
    speed = _speed(port)
    return Device(
        name=port.name,
        attributes=_attributes(port, by_name),
        capacity={} if speed is None else {"bandwidth": Capacity(str(Quantity(speed, Format.DECIMAL_SI)))},
        consumes={} if size is None else {name: {COUNTER: str(amount)}},
    )


def _speed(port: NetworkPort) -> int | None:
    """Bits a second."""
    if port.rdma is not None and port.rdma.rate_gbps is not None:
        return port.rdma.rate_gbps * 10**9
    if port.interface is not None and port.interface.speed_mbps is not None:
        return port.interface.speed_mbps * 10**6
    return None


def _attributes(port: NetworkPort, by_name: Mapping[str, NetworkPort]) -> dict[str, Attribute]:
    pci = port.pci
    told: dict[str, Attribute | None] = {
        "kind": "pf" if port.virtual is None else "vf",
        "linkType": _link_layer(port),
        "virtual": False,
        "rdma": port.rdma is not None,
        "driver": port.driver,
        "vendor": pci.vendor,
        "pciVendor": pci.vendor,
        "pciDevice": pci.device,
        "pciAddress": pci.bus_id,
        "pcieSwitch": pci.switch,
        "socket": pci.socket,
        PCIE_ROOT: pci.root,
        PCI_BUS_ID: pci.bus_id,
        NUMA_NODE: pci.numa_node,
        PCIE_SWITCH: pci.switch,
        SOCKET: pci.socket,
        **_interface_attributes(port),
        **_rdma_attributes(port),
        **_sriov_attributes(port, by_name),
    }
    return {name: value for name, value in told.items() if value is not None and _fits(value)}


def _link_layer(port: NetworkPort) -> str | None:
    if port.rdma is not None:
        return port.rdma.link_layer
    return None if port.interface is None else port.interface.link_layer


def _interface_attributes(port: NetworkPort) -> dict[str, Attribute | None]:
    if port.interface is None:
        return {}
    return {
        "ifName": port.interface.name,
        "mac": port.interface.mac,
        "mtu": port.interface.mtu,
        "state": port.interface.operstate,
        "alias": port.interface.alias,
        "encapsulation": "ether" if port.interface.link_layer == "ethernet" else "infiniband",
    }


def _rdma_attributes(port: NetworkPort) -> dict[str, Attribute | None]:
    if port.rdma is None:
        return {}
    return {
        "rdmaDevice": port.rdma.device,
        "rdmaPort": port.rdma.port,
        "nodeGUID": port.rdma.node_guid,
        "firmwareVersion": version(port.rdma.firmware),
    }


def _sriov_attributes(port: NetworkPort, by_name: Mapping[str, NetworkPort]) -> dict[str, Attribute | None]:
    if port.virtual is None:
        return {
            "sriov": port.total_vfs > 0,
            "isSriovVf": False,
            "sriovVfs": port.vfs if port.total_vfs else None,
            "numVFs": port.vfs if port.total_vfs else None,
        }
    physical = by_name.get(NetworkPort.name_of(port.virtual.physical))
    interface = None if physical is None else physical.interface
    return {
        "sriov": False,
        "isSriovVf": True,
        "vfIndex": port.virtual.number,
        "pfName": NetworkPort.name_of(port.virtual.physical) if interface is None else interface.name,
    }


def _fits(value: Attribute) -> bool:
    """Whether the API takes the value: a text must not be empty or too long."""
    return not isinstance(value, str) or 0 < len(value.encode()) <= _MAX_TEXT_BYTES
