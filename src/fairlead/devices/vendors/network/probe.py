"""From the machine's files to facts about network ports.

What is counted are PCI functions of class "network", those with an interface and those with an RDMA device. Left out,
with a reason: interfaces that the node itself needs (its default route runs over them, or a bond, a bridge or another
interface does), functions without a driver, and what cannot be described. Interfaces that are no port of a card
(loopback, bridges, veth) and the host's ends of virtual functions (representors) are none of ours and not spoken of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.network.facts import (
    Interface,
    NetworkPort,
    NetworkPorts,
    Skipped,
    VirtualFunction,
)
from fairlead.devices.vendors.network.rdma import DEVICES as RDMA_DEVICES
from fairlead.devices.vendors.network.rdma import read_rdma_again, read_rdma_ports

NET = "/sys/class/net"
PCI = "/sys/bus/pci/devices"
RDMA_CM = "/dev/infiniband/rdma_cm"
VFIO_DRIVER = "vfio-pci"

_BUS_ID = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_REPRESENTOR = re.compile(r"(?:c\d+)?pf\d+(?:vf|sf)\d+")
_VIRTUAL = re.compile(r"virtfn(\d{1,5})")
_SPEED = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_SUBFUNCTION = ".sf."
_NETWORK_CLASS = "0x02"
_INFINIBAND_TYPE = 32
_IS_UP = 0x1
_IPV6_ANY = "0" * 32
_ROUTES = "/proc/net/route"
_ROUTES_IPV6 = "/proc/net/ipv6_route"
_ROUTES_LIMIT_BYTES = 64 << 20
"""Nodes that learn routes from a fabric have hundreds of thousands of them, 128 to 160 bytes each."""
_ROUTE_BYTES = 512


def read_ports(host: Host) -> NetworkPorts:
    """Every port and virtual function there is now. Raises ProbeError where a class folder cannot be listed."""
    interfaces = _interfaces_by_function(host)
    rdma = _rdma_by_function(host)
    needed = _needed_by_node(host)
    ports: list[NetworkPort] = []
    skipped: list[Skipped] = []
    for bus_id in sorted({*interfaces, *rdma, *_network_functions(host)}):
        try:
            for port in read_function(host, bus_id, interfaces.get(bus_id, ()), rdma.get(bus_id)):
                reason = None if port.interface is None else needed.get(port.interface.name)
                if reason is None:
                    ports.append(port)
                else:
                    skipped.append(Skipped(port.name, reason, by_rule=True))
        except ProbeError as error:
            skipped.append(Skipped(NetworkPort.name_of(bus_id), str(error)))
    common = (RDMA_CM,) if host.device_node(RDMA_CM) is not None else ()
    return NetworkPorts(tuple(ports), common, tuple(skipped))


def read_current(host: Host, ports: Iterable[NetworkPort]) -> dict[str, NetworkPort | ProbeError | None]:
    """Each of these ports as it is now, by name; None for one that is gone, an error for one that cannot be read. Only
    what may change is read anew: this is asked for twice a second, of hundreds of virtual functions."""
    found: dict[str, NetworkPort | ProbeError | None] = {}
    for port in ports:
        path = f"{PCI}/{port.pci.bus_id}"
        try:
            found[port.name] = _read_again(host, port, path) if host.exists(path) else None
        except ProbeError as error:
            found[port.name] = error if host.exists(path) else None
    return found


def _read_again(host: Host, port: NetworkPort, path: str) -> NetworkPort:
    if not host.exists(f"{path}/driver"):
        raise ProbeError(f"{path}: no driver is bound to the network card")
    name = _name_now(host, port, path)
    return replace(
        port,
        interface=None if name is None else _read_interface(host, name)[1],
        rdma=None if port.rdma is None else read_rdma_again(host, port.rdma),
    )


def _name_now(host: Host, port: NetworkPort, path: str) -> str | None:
    """The interface of the port: under its known name, else under whatever name its function has one."""
    if port.interface is not None and _function_of(host, f"{NET}/{port.interface.name}") == port.pci.bus_id:
        return port.interface.name
    folders = [f"{path}/net", *(f"{path}/{entry}/net" for entry in host.names(path) if entry.startswith("virtio"))]
    names = [name for folder in folders for name in host.names(folder) if not _is_representor(host, name)]
    if len(names) <= 1:
        return names[0] if names and (port.rdma is None or port.rdma.port == port.port + 1) else None
    return next((name for name in names if host.number(f"{NET}/{name}/dev_port", 0) == port.port), None)


def read_function(host: Host, bus_id: str, names: Iterable[str], rdma_device: str | None) -> list[NetworkPort]:
    """The ports of one PCI function. Raises ProbeError."""
    path = f"{PCI}/{bus_id}"
    pci = host.pci(bus_id)
    driver = host.target(f"{path}/driver").rsplit("/", 1)[-1] if host.exists(f"{path}/driver") else ""
    if not driver:
        raise ProbeError(f"{path}: no driver is bound to the network card")
    interfaces = {port: interface for name in names for port, interface in [_read_interface(host, name)]}
    rdma = {found.port - 1: found for found in read_rdma_ports(host, rdma_device)} if rdma_device else {}
    if len(interfaces) == 1 and len(rdma) <= 1:
        # Newer cards number the ports of a card by `dev_port` too, though each has a function of its own.
        interfaces = {0: next(iter(interfaces.values()))}
    virtual = _read_virtual(host, bus_id)
    group = host.target(f"{path}/iommu_group").rsplit("/", 1)[-1] if driver == VFIO_DRIVER else ""
    total = host.number(f"{path}/sriov_totalvfs", 0)
    used = host.number(f"{path}/sriov_numvfs", 0)
    return [
        NetworkPort(
            pci=pci,
            port=port,
            interface=interfaces.get(port),
            rdma=rdma.get(port),
            driver=driver,
            virtual=virtual,
            total_vfs=total,
            vfs=used,
            vfio_group=int(group) if group.isdecimal() else None,
        )
        for port in sorted({*interfaces, *rdma} or {0})
    ]


def _network_functions(host: Host) -> list[str]:
    found: list[str] = []
    for bus_id in host.names(PCI):
        try:
            if host.text(f"{PCI}/{bus_id}/class", "").startswith(_NETWORK_CLASS):
                found.append(bus_id)
        except ProbeError:
            continue
    return found


def _function_of(host: Host, path: str) -> str | None:
    """The PCI function that a class entry hangs off; None for what is virtual, a subfunction's, or just went."""
    try:
        parts = host.target(path).split("/")
    except ProbeError:
        return None
    if any(_SUBFUNCTION in part for part in parts):
        return None
    return next((part for part in reversed(parts) if _BUS_ID.fullmatch(part)), None)


def _interfaces_by_function(host: Host) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in host.names(NET):
        bus_id = _function_of(host, f"{NET}/{name}")
        if bus_id is not None and not _is_representor(host, name):
            found.setdefault(bus_id, []).append(name)
    return found


def _is_representor(host: Host, name: str) -> bool:
    return _REPRESENTOR.fullmatch(_told(host, f"{NET}/{name}/phys_port_name")) is not None


def _rdma_by_function(host: Host) -> dict[str, str]:
    """Bus id -> RDMA device."""
    found = ((_function_of(host, f"{RDMA_DEVICES}/{name}"), name) for name in host.names(RDMA_DEVICES))
    return {bus_id: name for bus_id, name in found if bus_id is not None}


def _needed_by_node(host: Host) -> dict[str, str]:
    """Interface -> why the node needs it."""
    names = host.names(NET)
    if not names:
        return {}
    needed = {name: f"{name}: the node's default route runs over it" for name in _default_route_interfaces(host)}
    for name in names:
        entries = host.names(f"{NET}/{name}")
        uppers = {entry.removeprefix("upper_") for entry in entries if entry.startswith("upper_")}
        if "master" in entries:
            uppers.add(_master(host, name))
        if uppers:
            needed.setdefault(name, f"{name}: is part of {', '.join(sorted(uppers))}")
    return needed


def _master(host: Host, name: str) -> str:
    try:
        return host.target(f"{NET}/{name}/master").rsplit("/", 1)[-1]
    except ProbeError:
        return "another interface"


def _default_route_interfaces(host: Host) -> set[str]:
    """Interfaces of routes to everywhere, from the kernel's route tables (IPv4, then IPv6).

    Raises ProbeError for a table that is cut off or makes no sense: the node's own uplink must not be offered because
    a file could not be read. A kernel always has IPv4's table, with a heading; IPv6 may be off.
    """
    found: set[str] = set()
    heading, *routes = _route_table(host, _ROUTES).splitlines() or [""]
    if not heading.startswith("Iface"):
        raise ProbeError(f'{_ROUTES}: expected a heading that begins with Iface, found "{heading[:40]}"')
    for line in routes:
        fields = _route(_ROUTES, line, 8)
        if fields[1] == "00000000" and fields[7] == "00000000":
            found.add(fields[0])
    for line in _route_table(host, _ROUTES_IPV6, "").splitlines():
        fields = _route(_ROUTES_IPV6, line, 10)
        if fields[0] == _IPV6_ANY and fields[1] == "00" and fields[9] != "lo":
            found.add(fields[9])
    return found


def _route_table(host: Host, path: str, default: str | None = None) -> str:
    text = host.text(path, default, limit_bytes=_ROUTES_LIMIT_BYTES)
    if len(text) >= _ROUTES_LIMIT_BYTES - _ROUTE_BYTES:
        raise ProbeError(f"{path}: has more than {_ROUTES_LIMIT_BYTES >> 20} MiB; a default route may be further down")
    return text


def _route(path: str, line: str, least: int) -> list[str]:
    fields = line.split()
    if len(fields) < least:
        raise ProbeError(f'{path}: expected routes of {least} and more fields, found "{line[:40]}"')
    return fields


def _read_interface(host: Host, name: str) -> tuple[int, Interface]:
    """The number of its port on the function, and the interface."""
    path = f"{NET}/{name}"
    flags = host.number(f"{path}/flags", 0)
    is_up = bool(flags & _IS_UP)
    carrier = _told(host, f"{path}/carrier") if is_up else ""
    speed = _told(host, f"{path}/speed") if is_up else ""
    return host.number(f"{path}/dev_port", 0), Interface(
        name=name,
        mac=host.text(f"{path}/address"),
        mtu=host.number(f"{path}/mtu"),
        link_layer="infiniband" if host.number(f"{path}/type", 1) == _INFINIBAND_TYPE else "ethernet",
        operstate=host.text(f"{path}/operstate", "unknown"),
        is_up=is_up,
        carrier=None if carrier not in ("0", "1") else carrier == "1",
        speed_mbps=int(speed) if _SPEED.fullmatch(speed) else None,
        alias=_told(host, f"{path}/ifalias"),
    )


def _read_virtual(host: Host, bus_id: str) -> VirtualFunction | None:
    path = f"{PCI}/{bus_id}/physfn"
    if not host.exists(path):
        return None
    physical = host.target(path).rsplit("/", 1)[-1]
    for entry in host.names(f"{PCI}/{physical}"):
        match = _VIRTUAL.fullmatch(entry)
        if match and host.target(f"{PCI}/{physical}/{entry}").endswith(f"/{bus_id}"):
            return VirtualFunction(physical, int(match[1]))
    raise ProbeError(f"{PCI}/{physical}: has no link to its virtual function {bus_id}")


def _told(host: Host, path: str) -> str:
    """A file that the kernel may refuse to read just now (EINVAL on a link that is down); empty where it does."""
    try:
        return host.text(path, "")
    except ProbeError:
        return ""
