"""InfiniBand: what `ibnetdiscover` prints, and the NVLink partition that `nvidia-smi -q` prints.

`ibnetdiscover` (infiniband-diags) writes a paragraph per switch (`Switch PORTS "S-GUID" # "DESCRIPTION" …`) and per
host adapter (`Ca PORTS "H-GUID" # "HOST DEVICE"`), each followed by a line per cabled port: `[port] "PEER"[peer
port]`, with the peer's description behind `#`. Managed switches describe themselves as `MF0;NAME:MODEL/UNIT`; names
may hold spaces. A switch's own aggregation node (SHARP) shows as a host adapter named "Mellanox Technologies
Aggregation Node": no host.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.fabric import Cabling, Folded, fold

FABRIC = "infiniband"

_HEAD = re.compile(r'(?P<type>Switch|Ca|Rt)\s+(?P<ports>\d+)\s+"(?P<id>[^"]+)"\s*(?:#\s*"(?P<text>[^"]*)")?')
_PORT = re.compile(r'\[(?P<port>\d+)\]\s*(?:\([0-9a-fA-F]+\))?\s*"(?P<peer>[^"]+)"\[\d+\](?:\([0-9a-fA-F]+\))?')
_MANAGED = re.compile(r"[^;:]+;(?P<name>[^;]+?):[^:;]+")
_AGGREGATION = re.compile(r"aggregation node|\bsharp\b|an virtual node", re.IGNORECASE)
_ATTRIBUTES = ("vendid=", "devid=", "sysimgguid=", "switchguid=", "caguid=", "rtguid=", "portguid=")
_CLUSTER = re.compile(r"^\s*ClusterUUID\s*:\s*(\S+)", re.MULTILINE)
_CLIQUE = re.compile(r"^\s*CliqueId\s*:\s*(\S+)", re.MULTILINE)


@dataclass(slots=True)
class Discovery:
    """The paragraphs of a file. `switches`: id -> name; `hosts`: adapter id -> host, "" for one that is no host's;
    `ports`: id -> peer ids, one entry a cable."""

    switches: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    ports: dict[str, list[str]] = field(default_factory=dict)


def parse_ibnetdiscover(text: str) -> Discovery:
    """Raises SourceError with the line: for a cut line, a GUID that is there twice, a file without any paragraph."""
    found = Discovery()
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", *_ATTRIBUTES)):
            continue
        if port := _PORT.match(stripped):
            if not current:
                raise SourceError(f"ibnetdiscover, line {number}: a port before any Switch or Ca: {stripped[:60]!r}")
            found.ports[current].append(port["peer"])
        elif head := _HEAD.match(stripped):
            current = head["id"]
            if current in found.ports:
                raise SourceError(f'ibnetdiscover, line {number}: "{current}" is described twice; GUIDs are unique')
            found.ports[current] = []
            if head["type"] == "Switch":
                found.switches[current] = switch_name(head["text"] or "")
            elif head["type"] == "Ca":
                found.hosts[current] = host_name(head["text"] or "")
        elif stripped.startswith(("Switch", "Ca", "Rt", "[")):
            raise SourceError(f"ibnetdiscover, line {number}: cut off or damaged: {stripped[:60]!r}")
        elif number == 1 and not stripped[0].isalpha():
            raise SourceError(f"ibnetdiscover, line 1: not the output of ibnetdiscover: {stripped[:60]!r}")
    if not found.ports:
        raise SourceError("ibnetdiscover: no Switch and no Ca in it; expected the output of `ibnetdiscover`")
    return found


def switch_name(description: str) -> str:
    """`MF0;IB-Leaf-01:MQM8700/U1` is IB-Leaf-01; any other description is the name itself, spaces and all."""
    managed = _MANAGED.fullmatch(description)
    return managed["name"].strip() if managed else description.strip()


def host_name(description: str) -> str:
    """The host of an adapter: `node7 mlx5_3` and `node7 HCA-1` are node7. "" for aggregation nodes, blanks, and
    adapters that still carry their maker's text (`MT4129 ConnectX7 Mellanox Technologies`)."""
    words = description.split()
    if _AGGREGATION.search(description) or not 1 <= len(words) <= 2:
        return ""
    return words[0]


def topology_from_ibnetdiscover(text: str, nodes: Collection[str] | None = None) -> Folded:
    """Switches and nodes. With `nodes`, only adapters of those become nodes, matched by name or by its first label
    ("a01" for "a01.example.com"). Hosts that match none, and nodes without an adapter, are told as remarks."""
    found = parse_ibnetdiscover(text)
    wanted = _names(nodes) if nodes is not None else None
    cables: dict[str, Counter[str]] = {}
    others: Counter[str] = Counter()
    strangers: set[str] = set()
    for switch, adapter in _host_cables(found):
        host = found.hosts[adapter]
        node = host if wanted is None else wanted.get(host) or wanted.get(host.split(".")[0])
        if node is None:
            strangers.add(host)
            others[switch] += 1
        else:
            cables.setdefault(node, Counter())[switch] += 1
    trunks = [(one, peer) for one in found.switches for peer in found.ports[one] if peer in found.switches]
    folded = fold(Cabling(cables, found.switches, trunks, others), FABRIC)
    remarks = list(folded.remarks)
    if strangers:
        remarks.append(f"hosts on the fabric that are no nodes of the cluster: {_some(strangers)}")
    if nodes is not None and (missing := set(nodes) - set(cables)):
        remarks.append(f"nodes without an adapter on the fabric: {_some(missing)}")
    return Folded(folded.topology, tuple(remarks))


def _host_cables(found: Discovery) -> Iterator[tuple[str, str]]:
    """(switch, adapter) of each cable to a host. A cable is normally told from both ends; an adapter's own lines
    count where its switch does not mention it."""
    for switch in found.switches:
        for peer in found.ports[switch]:
            if found.hosts.get(peer):
                yield switch, peer
    for adapter, host in found.hosts.items():
        for peer in found.ports[adapter]:
            if host and peer in found.switches and adapter not in found.ports[peer]:
                yield peer, adapter


def _names(nodes: Iterable[str]) -> dict[str, str]:
    """Host name -> node: whole names, and first labels where only one node has it."""
    known = {node: node for node in nodes}
    short = Counter(node.split(".")[0] for node in known)
    return {node.split(".")[0]: node for node in known if short[node.split(".")[0]] == 1} | known


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def parse_nvlink_partition(text: str) -> str:
    """`ClusterUUID.CliqueId` of a node from `nvidia-smi -q`, the form of the label nvidia.com/gpu.clique; "" where
    its GPUs are in no NVLink fabric. Raises SourceError where they are in several."""
    clusters, cliques = _CLUSTER.findall(text), _CLIQUE.findall(text)
    if len(clusters) != len(cliques):
        raise SourceError(
            f"nvidia-smi -q: {len(clusters)} ClusterUUID but {len(cliques)} CliqueId; the output is cut off"
        )
    found = {
        f"{cluster}.{clique}"
        for cluster, clique in zip(clusters, cliques, strict=True)
        if "N/A" not in (cluster, clique) and set(cluster) - set("0-")
    }
    if len(found) > 1:
        raise SourceError(
            f"nvidia-smi -q: the node's GPUs are in several NVLink partitions: {', '.join(sorted(found))}"
        )
    return next(iter(found), "")
