"""What `fairlead topology show` draws, before it is drawn: a tree of parts with titles and states. Pure.

Regions and zones hold switches, switches hold switches and nodes, nodes of one accelerator domain stand together, a
node holds its sockets, those their PCIe switches, those the devices. Levels that tell nothing (one unnamed zone,
one socket) are left out. Nodes that look alike can be folded into one part that counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from typing import Any, Literal, TypeVar

from fairlead.devices.topology.hostlist import compact, natural
from fairlead.devices.topology.model import Place, Topology
from fairlead.devices.topology.snapshot import ClusterSeen, DeviceSeen, NodeSeen

T = TypeVar("T")
Kind = Literal["root", "region", "zone", "switch", "domain", "node", "socket", "pcie", "device"]
State = Literal["free", "held", "tainted", "away", ""]


@dataclass(frozen=True, slots=True)
class Part:
    """`count` is how many nodes it stands for; `free` and `total` count devices below. `note` is a remark."""

    kind: Kind
    title: str
    note: str = ""
    state: State = ""
    parts: tuple[Part, ...] = ()
    count: int = 0
    free: int = 0
    total: int = 0


def picture(topology: Topology, cluster: ClusterSeen, fabric: str | None = None) -> Part:
    """The whole cluster. Nodes that only the topology or only the API knows are there too."""
    nodes = sorted({*topology.places, *cluster.nodes}, key=natural)
    made = {name: _node(name, cluster.nodes.get(name), cluster.devices.get(name, ())) for name in nodes}
    places = {name: topology.places.get(name, Place(name)) for name in nodes}
    known = Topology(topology.switches, places)
    regions = [
        _named("region", region, _zones(known, made, [places[name] for name in names], fabric))
        for region, names in _grouped(nodes, lambda name: places[name].region)
    ]
    return _sum(Part("root", "cluster", parts=_flat(regions)))


def _zones(
    topology: Topology, made: Mapping[str, Part], places: Sequence[Place], fabric: str | None
) -> tuple[Part, ...]:
    by_name = {place.node: place for place in places}
    return _flat(
        _named("zone", zone, _switches(topology, made, [by_name[name] for name in names], fabric))
        for zone, names in _grouped(sorted(by_name, key=natural), lambda name: by_name[name].zone)
    )


def _switches(
    topology: Topology, made: Mapping[str, Part], places: Sequence[Place], fabric: str | None
) -> tuple[Part, ...]:
    """Trees of switches over these nodes, each switch once for each zone that it reaches."""
    below: dict[str, dict[str, None]] = {}
    on: dict[str, list[Place]] = {}
    for place in places:
        path = topology.path(place.node, fabric)
        on.setdefault(path[0] if path else "", []).append(place)
        for child, parent in zip_longest(path, path[1:], fillvalue=""):
            below.setdefault(parent, {})[child] = None

    def build(identifier: str) -> tuple[Part, ...]:
        switches = []
        for child in sorted(below.get(identifier, ()), key=natural):
            switch = topology.switches[child]
            members = f"{len(switch.members)} switches" if switch.members else ""
            note = ", ".join(word for word in (f"tier {topology.tiers[child]}", members) if word)
            switches.append(_sum(Part("switch", switch.name or child, note, parts=build(child))))
        return (*switches, *_domains(made, on.get(identifier, [])))

    return build("")


def _domains(made: Mapping[str, Part], places: Sequence[Place]) -> tuple[Part, ...]:
    by_name = {place.node: place for place in places}
    parts: list[Part] = []
    for domain, names in _grouped(sorted(by_name, key=natural), lambda name: by_name[name].domain):
        subs: list[Part] = []
        for sub, members in _grouped(names, lambda name: by_name[name].sub_domain):
            nodes = tuple(made[name] for name in members)
            subs += [_sum(Part("domain", sub, "sub-domain", parts=nodes))] if sub else nodes
        parts += [_sum(Part("domain", domain, "accelerator domain", parts=tuple(subs)))] if domain else subs
    return tuple(parts)


def _node(name: str, node: NodeSeen | None, devices: Sequence[DeviceSeen]) -> Part:
    state: State = ""
    notes: list[str] = []
    if node is None:
        state, notes = "away", ["not in the cluster"]
    elif not node.ready:
        state, notes = "away", ["not ready"]
    elif node.cordoned:
        state, notes = "tainted", ["cordoned"]
    sockets = []
    for socket, of_socket in _grouped(devices, _socket):
        switches = [
            _sum(Part("pcie", switch, "PCIe switch", parts=tuple(_device(device) for device in on)))
            if switch
            else tuple(_device(device) for device in on)
            for switch, on in _grouped(of_socket, lambda device: device.spot.pcie_switch, str)
        ]
        parts = tuple(part for item in switches for part in (item if isinstance(item, tuple) else (item,)))
        sockets.append(_named("socket", socket, parts))
    return replace(_sum(Part("node", name, ", ".join(notes), state, _flat(sockets))), count=1)


def _socket(device: DeviceSeen) -> str:
    if device.spot.socket is not None:
        return f"socket {device.spot.socket}"
    return "NUMA " + ",".join(map(str, sorted(device.spot.numa))) if device.spot.numa else ""


def _device(device: DeviceSeen) -> Part:
    state: State = "tainted" if device.taints else "held" if device.held else "free"
    note = ", ".join(word for word in (device.product, device.interface, *device.taints) if word)
    return Part("device", device.name, note, state, free=int(state == "free"), total=1)


def fold_alike(part: Part, at_least: int = 4) -> Part:
    """Runs of at least that many sibling nodes with the same shape and states become one part, "n[1-8]"."""
    parts: list[Part] = []
    for shape, group in groupby(part.parts, key=_shape):
        same = list(group)
        if shape is None or len(same) < at_least:
            parts += [fold_alike(child, at_least) for child in same]
            continue
        first = same[0]
        title = compact(node.title for node in same)
        devices = _devices_text(first)
        note = ", ".join(word for word in (f"{len(same)} nodes", devices and f"each {devices}", first.note) if word)
        free, total = sum(node.free for node in same), sum(node.total for node in same)
        parts.append(Part("node", title, note, first.state, (), len(same), free, total))
    return replace(part, parts=tuple(parts))


def _shape(part: Part) -> tuple[object, ...] | None:
    if part.kind != "node":
        return None
    return (part.state, part.note, part.total, part.free, _devices_text(part))


def _devices_text(part: Part) -> str:
    counted: dict[str, int] = {}
    for device in leaves(part):
        product = device.note.split(", ")[0] or "devices"
        counted[product] = counted.get(product, 0) + 1
    return " + ".join(f"{count} {product}" for product, count in counted.items())


def leaves(part: Part) -> Iterable[Part]:
    """Devices below a part."""
    if part.kind == "device":
        yield part
    for child in part.parts:
        yield from leaves(child)


def nodes_of(part: Part) -> Iterable[Part]:
    if part.kind == "node":
        yield part
        return
    for child in part.parts:
        yield from nodes_of(child)


def _sum(part: Part) -> Part:
    return replace(
        part,
        count=sum(child.count for child in part.parts),
        free=sum(child.free for child in part.parts),
        total=sum(child.total for child in part.parts),
    )


def _named(kind: Kind, title: str, parts: tuple[Part, ...]) -> Part | tuple[Part, ...]:
    """A part around `parts`, or those alone where it has no name."""
    return _sum(Part(kind, title, parts=parts)) if title else parts


def _flat(items: Iterable[Part | tuple[Part, ...]]) -> tuple[Part, ...]:
    return tuple(part for item in items for part in (item if isinstance(item, tuple) else (item,)))


def _grouped(
    items: Iterable[T], key: Callable[[T], str], order: Callable[[str], Any] = natural
) -> list[tuple[str, list[T]]]:
    """(key, items) in the order of keys, the unnamed one last."""
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return sorted(found.items(), key=lambda pair: (not pair[0], order(pair[0])))
