"""Where devices sit in a node: PCIe switches, root complexes, NUMA nodes and sockets, as /sys would show them. Pure.

A switch has a root port and a root complex of its own, as in servers with a switch per pair of accelerators; devices
are spread over the switches in order, so that the first half of them is at the first socket.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.devices.vendors.simulated.document import Address, Devices, Group
from fairlead.devices.vendors.simulated.strict import FleetError, show

_BUS = re.compile(
    r"(?:(?P<domain>[0-9a-f]{4}):)?(?P<bus>[0-9a-f]{2})(?::(?P<device>[0-9a-f]{2})\.(?P<function>[0-7]))?"
)
_BUSES = 0x100
_FIRST_BUS = 0x10
"""Below are the chipset's own devices."""

_PORTS = 3
"""Buses that a switch itself uses: its root port's, its upstream port's, its downstream ports'."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One device's place. `switch` is the bus id of the switch's upstream port, None without one."""

    bus_id: str
    root: str
    switch: str | None
    numa_node: int
    socket: int


def place(group: Group, where: str) -> tuple[tuple[Seat, ...], ...]:
    """The seats of each entry of the group's `devices`. Raises FleetError naming the entry, below `where`."""
    ways = _ways(group)
    taken = _addresses(group, where)
    placed = []
    for n, devices in enumerate(group.devices):
        if devices.at:
            seats = [
                _given(address, ways, len(devices.at), k, f"{where}.devices[{n}].at[{k}]")
                for k, address in enumerate(devices.at)
            ]
        else:
            count = devices.count or 1
            seats = [_next_seat(ways, k, count, taken, f"{where}.devices[{n}]") for k in range(count)]
        placed.append(tuple(seats))
    return tuple(placed)


@dataclass(slots=True)
class _Way:
    """A switch, or a socket's own root complex where there are no switches, and the next bus below it."""

    root: str
    switch: str | None
    numa_node: int
    socket: int
    next_bus: int
    end_bus: int


def _ways(group: Group) -> list[_Way]:
    sockets, numas = group.sockets, group.sockets * group.numa_per_socket
    count = group.pcie_switches or numas
    share = (_BUSES - _FIRST_BUS) // count
    ways = []
    for n in range(count):
        base = _FIRST_BUS + n * share
        numa = n * numas // count
        switch = f"0000:{base + 1:02x}:00.0" if group.pcie_switches else None
        ways.append(
            _Way(
                root=f"pci0000:{base:02x}",
                switch=switch,
                numa_node=numa,
                socket=numa * sockets // numas,
                next_bus=base + (_PORTS if switch else 1),
                end_bus=base + share,
            )
        )
    return ways


def _next_seat(ways: Sequence[_Way], number: int, count: int, taken: frozenset[str], where: str) -> Seat:
    way = ways[number * len(ways) // count]
    while way.next_bus < way.end_bus:
        bus_id = f"0000:{way.next_bus:02x}:00.0"
        way.next_bus += 1
        if bus_id not in taken:
            return Seat(bus_id, way.root, way.switch, way.numa_node, way.socket)
    raise FleetError(
        f"{where}.count: no PCI bus is left for device {number} below {way.switch or way.root}; "
        "give the node more pcieSwitches or fewer devices"
    )


def _given(address: Address, ways: Sequence[_Way], count: int, number: int, where: str) -> Seat:
    way = ways[number * len(ways) // count]
    bus_id = _bus_id(address, where)
    return Seat(
        bus_id=bus_id,
        root=address.root if address.root is not None else way.root,
        switch=address.switch if address.switch is not None else way.switch,
        numa_node=address.numa if address.numa is not None else way.numa_node,
        socket=address.socket if address.socket is not None else way.socket,
    )


def _bus_id(address: Address, where: str) -> str:
    text = f"{address.bus:02d}" if isinstance(address.bus, int) else address.bus.lower()
    found = _BUS.fullmatch(text)
    if found is None:
        raise FleetError(f'{where}.bus: expected a PCI bus id such as "27" or "0000:27:00.0", got {show(address.bus)}')
    return f"{found['domain'] or '0000'}:{found['bus']}:{found['device'] or '00'}.{found['function'] or '0'}"


def _addresses(group: Group, where: str) -> frozenset[str]:
    """The bus ids that the file gives itself."""
    seen: dict[str, str] = {}
    for n, devices in enumerate(group.devices):
        for k, address in enumerate(devices.at):
            path = f"{where}.devices[{n}].at[{k}]"
            bus_id = _bus_id(address, path)
            if bus_id in seen:
                raise FleetError(f"{path}.bus: {bus_id} is also the address of {seen[bus_id]}; give each its own")
            seen[bus_id] = path
    return frozenset(seen)


def count_of(devices: Devices) -> int:
    return len(devices.at) or devices.count or 1
