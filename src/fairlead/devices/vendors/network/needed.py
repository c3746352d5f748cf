"""Interfaces that the node itself needs, and the PCI functions that they hang off.

Needed are interfaces that a default route runs over, and those that a bond, a bridge or another interface is made of.
They are known by name; a card is given away by its function. Where sysfs does not tell which function a needed
interface hangs off, nothing may be given away: it could be the node's own uplink. Sources: proc_net(5) and the
kernel's ABI documentation of /sys/class/net for `upper_`, `lower_` and `master`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.network.facts import VFIO_DRIVER, NetworkPort

NET = "/sys/class/net"
PCI = "/sys/bus/pci/devices"

_BUS_ID = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_SUBFUNCTION = ".sf."
_IPV6_ANY = "0" * 32
_INTERFACES = "/proc/net/dev"
_REMEDY = "the driver must run in the node's network namespace (hostNetwork)"
_ROUTES = "/proc/net/route"
_ROUTES_IPV6 = "/proc/net/ipv6_route"
_ROUTES_LIMIT_BYTES = 64 << 20
"""Nodes that learn routes from a fabric have hundreds of thousands of them, 128 to 160 bytes each."""
_ROUTE_BYTES = 512


class UnresolvedError(ProbeError):
    """The node needs an interface, and no file tells whose it is. Another look may: interfaces come and go."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What must not be given away, and why: `interfaces` by name, `functions` by bus id (those of the interfaces),
    `physical` the functions whose virtual ones the node needs."""

    interfaces: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    physical: Mapping[str, str] = field(default_factory=dict)

    def why(self, port: NetworkPort, before: str | None) -> str | None:
        """Why a port is the node's; None where it is free. `before`: why the node needed its function at the last look.
        That counts for as long as the function shows no interface: it is there, under a name that cannot be read."""
        bus_id = port.pci.bus_id
        if bus_id in self.physical:
            return self.physical[bus_id]
        if port.interface is not None:
            return self.interfaces.get(port.interface.name)
        # What is bound to VFIO has no interface at all.
        return None if port.driver == VFIO_DRIVER else self.functions.get(bus_id, before)


def read_needed(host: Host, interfaces: Mapping[str, Sequence[str]]) -> Needed:
    """`interfaces`: PCI function -> its interfaces. Raises ProbeError (UnresolvedError), as it is no answer that a file
    which cannot be read names nothing."""
    owners = {name: bus_id for bus_id, names in interfaces.items() for name in names}
    _check_namespace(host, owners)
    reasons = {name: f"{name}: the node's default route runs over it" for name in _default_route_interfaces(host)}
    for name, over in _parts(host, owners).items():
        reasons.setdefault(name, f"{name}: is part of {', '.join(sorted(over))}")
    functions: dict[str, str] = {}
    physical: dict[str, str] = {}
    for name, reason in sorted(reasons.items()):
        bus_id = owners.get(name) or _resolve(host, name, reason)
        if bus_id is None:
            continue
        functions.setdefault(bus_id, reason)
        if "physfn" in host.names(f"{PCI}/{bus_id}"):
            card = host.target(f"{PCI}/{bus_id}/physfn").rsplit("/", 1)[-1]
            physical.setdefault(card, f"its virtual function {bus_id} is the node's ({reason})")
    return Needed(reasons, functions, physical)


def function_of(host: Host, path: str) -> str | None:
    """The PCI function that a class entry hangs off; None for what is virtual or a subfunction's. Raises ProbeError."""
    parts = host.target(path).split("/")
    if any(_SUBFUNCTION in part for part in parts):
        return None
    return next((part for part in reversed(parts) if _BUS_ID.fullmatch(part)), None)


def _check_namespace(host: Host, owners: Mapping[str, str]) -> None:
    """/proc tells the namespace of this process, /sys that of whoever mounted it: a pod's routes say nothing about the
    node's uplink, even where names are alike."""
    listed = {line.split(":")[0].strip() for line in host.text(_INTERFACES, "").splitlines() if ":" in line}
    strangers = owners.keys() - listed
    if listed and strangers:
        raise UnresolvedError(
            f"no port can be given away while it is not known which card is the node's own. {NET} shows "
            f"{min(strangers)} and {_INTERFACES} does not; {_REMEDY}"
        )


def _resolve(host: Host, name: str, reason: str) -> str | None:
    """Raises UnresolvedError also for an entry that does not say what sysfs says ("../../devices/…/net/<name>")."""
    path = f"{NET}/{name}"
    try:
        parts = host.target(path).split("/")
        if parts[-1] == name and "devices" in parts:
            return function_of(host, path)
        problem = f"{path}: leads to {'/'.join(parts)[:60]}"
    except ProbeError as error:
        problem = str(error)
    raise UnresolvedError(
        f"no port can be given away while it is not known which card is the node's own. {reason}, and {problem}; "
        + _REMEDY
    )


def _parts(host: Host, owners: Mapping[str, str]) -> dict[str, set[str]]:
    """Interface -> those that it is a part of: as it tells itself, in either of its folders, and as they tell."""
    found: dict[str, set[str]] = {}
    for name in {*host.names(NET), *owners}:
        folders = [f"{NET}/{name}", *([f"{PCI}/{owners[name]}/net/{name}"] if name in owners else [])]
        for folder in folders:
            entries = host.names(folder)
            for entry in entries:
                if entry.startswith("upper_"):
                    found.setdefault(name, set()).add(entry.removeprefix("upper_"))
                elif entry.startswith("lower_"):
                    found.setdefault(entry.removeprefix("lower_"), set()).add(name)
            if "master" in entries:
                found.setdefault(name, set()).add(_master(host, folder))
            if entries:
                break
    return found


def _master(host: Host, folder: str) -> str:
    try:
        return host.target(f"{folder}/master").rsplit("/", 1)[-1]
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
