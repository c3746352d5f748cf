"""Ethernet by NVIDIA: NetQ's topology graph, NVIDIA Air's topology files, and NMX's list of NVLink compute nodes.

NetQ (`…/topologygraph/fetch-topology`) answers `[{"nodes": [{"compounded_nodes": [{id, name, tier}]}], "links":
[{"id": "a-*-b"}]}]`; tier -1 are hosts, switches count from the hosts up. Air's JSON holds `content: {nodes: {name:
{os, function}}, links: [[{node, interface}, {node, interface}]]}`. NMX (`nmx/v1/compute-nodes`) answers `[{Name,
DomainUUID}]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.fabric import Cabling, Folded, fold
from fairlead.devices.topology.model import Place, Topology
from fairlead.devices.topology.providers.decoding import decode_json

FABRIC = "ethernet"
_HOST_TIER = -1
_NETWORK_SYSTEMS = ("cumulus", "sonic", "onyx", "nvos")
_NETWORK_FUNCTIONS = {
    "leaf",
    "spine",
    "superspine",
    "super-spine",
    "core",
    "tor",
    "switch",
    "border",
    "fabric",
    "oob-switch",
}


class _Member(msgspec.Struct, frozen=True):
    id: str
    name: str = ""
    tier: int = _HOST_TIER


class _Nodes(msgspec.Struct, frozen=True):
    compounded_nodes: tuple[_Member, ...] = ()


class _Link(msgspec.Struct, frozen=True):
    id: str
    size: int = 1


class _Graph(msgspec.Struct, frozen=True):
    nodes: tuple[_Nodes, ...] = ()
    links: tuple[_Link, ...] = ()


class _AirNode(msgspec.Struct, frozen=True):
    os: str = ""
    function: str = ""


class _AirEnd(msgspec.Struct, frozen=True):
    node: str
    interface: str = ""


class _AirContent(msgspec.Struct, frozen=True):
    nodes: dict[str, _AirNode]
    links: tuple[tuple[_AirEnd | str, ...], ...] = ()


class _Air(msgspec.Struct, frozen=True):
    content: _AirContent


class _ComputeNode(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    domain_uuid: str = msgspec.field(name="DomainUUID", default="")


def topology_from_netq(raw: bytes | str, nodes: Collection[str] | None = None) -> Folded:
    """Raises SourceError. Links to what is not described are left out, as remarks."""
    answer = decode_json(raw, tuple[_Graph, ...], "NetQ topology")
    if len(answer) != 1:
        raise SourceError(f"NetQ topology: expected one graph, found {len(answer)}")
    members = {member.id: member for group in answer[0].nodes for member in group.compounded_nodes}
    remarks: list[str] = []
    cables: dict[str, Counter[str]] = {
        member.name: Counter()
        for member in members.values()
        if member.tier == _HOST_TIER and (nodes is None or member.name in nodes)
    }
    trunks: list[tuple[str, str]] = []
    for link in answer[0].links:
        ends = [members.get(end) for end in link.id.split("-*-")]
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            remarks.append(f'link "{link.id}" does not join two described nodes; it is left out')
            continue
        low, high = sorted((ends[0], ends[1]), key=lambda member: member.tier)
        if low.tier == high.tier:
            continue
        if low.tier != _HOST_TIER:
            trunks += [(low.id, high.id)] * max(1, link.size)
        elif low.name in cables:
            cables[low.name][high.id] += max(1, link.size)
    switches = {member.id: member.name for member in members.values() if member.tier != _HOST_TIER}
    ranks = {member.id: member.tier for member in members.values() if member.tier != _HOST_TIER}
    folded = fold(Cabling(cables, switches, trunks, ranks=ranks), FABRIC)
    return Folded(folded.topology, (*remarks, *folded.remarks))


def topology_from_air(raw: bytes | str, nodes: Collection[str] | None = None) -> Folded:
    """A node with a network operating system or function is a switch, any other a host. Raises SourceError."""
    content = decode_json(raw, _Air, "Air topology").content
    switches = {name: "" for name, node in content.nodes.items() if _is_switch(node)}
    cables: dict[str, Counter[str]] = {
        name: Counter() for name in content.nodes if name not in switches and (nodes is None or name in nodes)
    }
    hosts: Counter[str] = Counter()
    trunks: list[tuple[str, str]] = []
    for link in content.links:
        # A cable to the outside is a bare word ("exit").
        ends = [end.node for end in link if isinstance(end, _AirEnd)]
        if len(ends) != 2:
            continue
        one, other = ends if ends[1] in switches else (ends[1], ends[0])
        if other not in switches:
            continue
        if one in switches:
            trunks.append((one, other))
        elif one in cables:
            cables[one][other] += 1
        else:
            hosts[other] += 1
    return fold(Cabling(cables, switches, trunks, hosts), FABRIC)


def _is_switch(node: _AirNode) -> bool:
    return node.function.lower() in _NETWORK_FUNCTIONS or any(part in node.os.lower() for part in _NETWORK_SYSTEMS)


def domains_from_nmx(raw: bytes | str) -> Topology:
    """NVLink domains of compute nodes. Raises SourceError, InvalidTopology."""
    found = decode_json(raw, tuple[_ComputeNode, ...], "NMX compute nodes")
    return Topology.of(places=[Place(node.name, domain=node.domain_uuid) for node in found])


def topology_from_json(raw: bytes | str, nodes: Collection[str] | None = None) -> Folded:
    """Whichever of the three it is."""
    document = decode_json(raw, Any, "NetQ or Air topology")
    if isinstance(document, dict) and "content" in document:
        return topology_from_air(raw, nodes)
    if isinstance(document, list) and document and isinstance(document[0], dict) and "DomainUUID" in document[0]:
        return Folded(domains_from_nmx(raw), ())
    return topology_from_netq(raw, nodes)
