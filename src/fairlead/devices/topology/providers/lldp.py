"""Ethernet by LLDP: what `lldpctl -f json` (lldpd) prints on each node, and on switches that run it too.

lldpd collapses lists of one: `interface` is an object for a single interface and a list of one-key objects
otherwise; a chassis is keyed by its name, or bare where it has none. The `json0` form keeps every list. Both are
read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.fabric import Cabling, Folded, fold
from fairlead.devices.topology.providers.decoding import decode_json

FABRIC = "ethernet"
_FORWARDING = {"Bridge", "Router"}
_CHASSIS_FIELDS = {"id", "name", "descr", "capability", "mgmt-ip", "mgmt-iface"}


def parse_lldpctl(raw: bytes | str, source: str = "lldpctl") -> list[tuple[str, str]]:
    """(local interface, switch) of each neighbour that forwards; the switch goes by its name, else its chassis id.
    Raises SourceError."""
    document = decode_json(raw, dict[str, Any], source)
    lldp = document.get("lldp")
    # lldpd prints an empty object where it has heard nobody yet.
    entries = lldp if isinstance(lldp, list) else [lldp]
    found: list[tuple[str, str]] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise SourceError(f'{source}: expected {{"lldp": {{…}}}}, the output of `lldpctl -f json`')
        for name, interface in _interfaces(entry.get("interface", [])):
            if switch := _switch(interface.get("chassis")):
                found.append((name, switch))
    return found


def _interfaces(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            continue
        if "chassis" in item:
            yield str(item.get("name", "")), item
            continue
        for name, interface in item.items():
            for one in interface if isinstance(interface, list) else [interface]:
                if isinstance(one, dict):
                    yield name, one


def _switch(chassis: Any) -> str:
    """The neighbour's name, "" for one that says that it forwards nothing (a host, a card's own agent)."""
    if isinstance(chassis, list):
        chassis = chassis[0] if chassis else None
    if not isinstance(chassis, dict) or not chassis:
        return ""
    name = _text(chassis.get("name"))
    if not set(chassis) & _CHASSIS_FIELDS:
        name, chassis = next(iter(chassis.items()))
        if isinstance(chassis, list):
            chassis = chassis[0] if chassis else {}
    if not isinstance(chassis, dict):
        return ""
    capabilities = chassis.get("capability")
    told = [
        item for item in (capabilities if isinstance(capabilities, list) else [capabilities]) if isinstance(item, dict)
    ]
    if told and not any(item.get("type") in _FORWARDING and item.get("enabled") for item in told):
        return ""
    return name or _text(chassis.get("id"))


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, dict):
        value = value.get("value", "")
    return value if isinstance(value, str) else ""


def topology_from_lldp(answers: Mapping[str, bytes | str], nodes: Collection[str] | None = None) -> Folded:
    """`answers`: host -> its output. A host that others name as their switch, or that is not among `nodes` where
    those are given, counts as a switch itself."""
    heard = {host: parse_lldpctl(raw, f"lldpctl of {host}") for host, raw in answers.items()}
    named = {switch for links in heard.values() for _, switch in links}
    hosts = {host for host in heard if host not in named and (nodes is None or host in nodes)}
    cables = {host: Counter(switch for _, switch in heard[host]) for host in sorted(hosts)}
    switches = {switch: "" for switch in sorted(named | (set(heard) - hosts))}
    # Both ends of a trunk tell it: once is enough.
    trunks = {
        (min(one, other), max(one, other), number)
        for one in set(heard) - hosts
        for other, count in Counter(switch for _, switch in heard[one]).items()
        for number in range(count)
        if other in switches
    }
    folded = fold(Cabling(cables, switches, [(one, other) for one, other, _ in sorted(trunks)]), FABRIC)
    silent = sorted(host for host, ports in cables.items() if not ports)
    remarks = [*folded.remarks, *([f"no LLDP neighbour that forwards: {', '.join(silent[:8])}"] if silent else [])]
    return Folded(folded.topology, tuple(remarks))
