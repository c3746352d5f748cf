"""From the machine's files to facts about network ports.

What is counted are PCI functions of class "network", those with an interface and those with an RDMA device. Left out,
with a reason: interfaces that the node itself needs (its default route runs over them, or a bond, a bridge or another
interface does), functions without a driver, and what cannot be described. Interfaces that are no port of a card
(loopback, bridges, veth) and the host's ends of virtual functions (representors) are none of ours and not spoken of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.network.facts import (
    VFIO_DRIVER,
    Interface,
    NetworkPort,
    NetworkPorts,
    Skipped,
    VirtualFunction,
)
from fairlead.devices.vendors.network.needed import NET, PCI, Needed, UnresolvedError, function_of, read_needed
from fairlead.devices.vendors.network.rdma import DEVICES as RDMA_DEVICES
from fairlead.devices.vendors.network.rdma import read_rdma_again, read_rdma_ports

RDMA_CM = "/dev/infiniband/rdma_cm"

_REPRESENTOR = re.compile(r"(?:c\d+)?pf\d+(?:vf|sf)\d+")
_VIRTUAL = re.compile(r"virtfn(\d{1,5})")
_SPEED = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_NETWORK_CLASS = "0x02"
_INFINIBAND_TYPE = 32
_IS_UP = 0x1
_ATTEMPTS = 3


def read_ports(host: Host, needed_before: Mapping[str, str] | None = None) -> NetworkPorts:
    """Every port and virtual function there is now. `needed_before`: `needed` of the last look.

    Raises ProbeError where a class folder cannot be listed, or where it cannot be told what the node itself needs.
    """
    rdma = _rdma_by_function(host)
    functions = {*rdma, *_network_functions(host)}
    interfaces, needed = _interfaces_and_needed(host, functions)
    physical_of = _physical_functions(host, functions | interfaces.keys())
    ports: list[NetworkPort] = []
    skipped: list[Skipped] = []
    still_needed = dict(needed.functions)
    for bus_id in sorted(functions | interfaces.keys()):
        before = (needed_before or {}).get(bus_id)
        try:
            found = read_function(host, bus_id, interfaces.get(bus_id, ()), rdma.get(bus_id))
            if bus_id in physical_of and any(port.virtual is None for port in found):
                raise ProbeError(
                    f"{PCI}/{bus_id}: does not tell that it is a virtual function of {physical_of[bus_id]}"
                )
        except ProbeError as error:
            skipped.append(Skipped(NetworkPort.name_of(bus_id), str(error)))
            if before is not None:
                still_needed.setdefault(bus_id, before)
            continue
        for port in found:
            reason = needed.why(port, before)
            if reason is None:
                ports.append(port)
                continue
            skipped.append(Skipped(port.name, reason, by_rule=True))
            if port.interface is None:
                still_needed.setdefault(bus_id, reason)
    common = (RDMA_CM,) if host.device_node(RDMA_CM) is not None else ()
    return NetworkPorts(tuple(ports), common, tuple(skipped), still_needed)


def _interfaces_and_needed(host: Host, functions: Iterable[str]) -> tuple[dict[str, list[str]], Needed]:
    """Interfaces by function, and what the node needs, of one moment: an interface that is renamed between the two
    looks would be offered under the one name and needed under the other. Raises ProbeError."""
    problem = ProbeError(f"{NET}: interfaces are renamed again and again while they are looked at")
    for _ in range(_ATTEMPTS):
        interfaces = _interfaces_by_function(host, functions)
        if not interfaces and not functions:
            return {}, Needed()
        try:
            needed = read_needed(host, interfaces)
        except UnresolvedError as error:
            problem = error
            continue
        if interfaces == _interfaces_by_function(host, functions):
            return interfaces, needed
    raise problem


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


def current_name(host: Host, bus_id: str, number: int, known: str) -> str | None:
    """The interface of a port of a function now: its known name, else whatever the function shows; None for none, and
    where it cannot be read."""
    try:
        if _function_or_none(host, f"{NET}/{known}") == bus_id:
            return known
        names = [name for name in _names_at(host, f"{PCI}/{bus_id}") if not _is_representor(host, name)]
        if len(names) <= 1:
            return names[0] if names else None
        return next((name for name in names if host.number(f"{NET}/{name}/dev_port", 0) == number), None)
    except ProbeError:
        return None


def _name_now(host: Host, port: NetworkPort, path: str) -> str | None:
    """The interface of the port: under its known name, else under whatever name its function has one."""
    if port.interface is not None and _function_or_none(host, f"{NET}/{port.interface.name}") == port.pci.bus_id:
        return port.interface.name
    names = [name for name in _names_at(host, path) if not _is_representor(host, name)]
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


def _interfaces_by_function(host: Host, functions: Iterable[str]) -> dict[str, list[str]]:
    """From the class folder, and from the functions' own: either may fail to tell."""
    found: dict[str, set[str]] = {}
    for name in host.names(NET):
        bus_id = _function_or_none(host, f"{NET}/{name}")
        if bus_id is not None and not _is_representor(host, name):
            found.setdefault(bus_id, set()).add(name)
    for bus_id in functions:
        for name in _names_at(host, f"{PCI}/{bus_id}"):
            if name not in found.get(bus_id, ()) and not _is_representor(host, name, bus_id):
                found.setdefault(bus_id, set()).add(name)
    return {bus_id: sorted(names) for bus_id, names in found.items()}


def _names_at(host: Host, path: str) -> list[str]:
    """Interfaces in a function's own folder, or in that of its virtio device."""
    folders = [f"{path}/net", *(f"{path}/{entry}/net" for entry in host.names(path) if entry.startswith("virtio"))]
    return [name for folder in folders for name in host.names(folder)]


def _physical_functions(host: Host, functions: Iterable[str]) -> dict[str, str]:
    """Virtual function -> physical one, as the physical ones tell it."""
    found: dict[str, str] = {}
    for bus_id in functions:
        for entry in host.names(f"{PCI}/{bus_id}"):
            if _VIRTUAL.fullmatch(entry):
                try:
                    found[host.target(f"{PCI}/{bus_id}/{entry}").rsplit("/", 1)[-1]] = bus_id
                except ProbeError:
                    continue
    return found


def _function_or_none(host: Host, path: str) -> str | None:
    """The PCI function that a class entry hangs off; None also for one that cannot be followed or just went."""
    try:
        return function_of(host, path)
    except ProbeError:
        return None


def _is_representor(host: Host, name: str, bus_id: str = "") -> bool:
    """`bus_id`: look in the function's own folder."""
    folder = f"{PCI}/{bus_id}/net" if bus_id else NET
    return _REPRESENTOR.fullmatch(_told(host, f"{folder}/{name}/phys_port_name")) is not None


def _rdma_by_function(host: Host) -> dict[str, str]:
    """Bus id -> RDMA device."""
    found = ((_function_or_none(host, f"{RDMA_DEVICES}/{name}"), name) for name in host.names(RDMA_DEVICES))
    return {bus_id: name for bus_id, name in found if bus_id is not None}


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
