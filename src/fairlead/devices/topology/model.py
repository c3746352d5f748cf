"""One value for how nodes hang together: switches in trees, accelerator domains, zones and regions.

A node hangs from at most one leaf switch of each *fabric* (InfiniBand beside Ethernet, say); a switch hangs from at
most one parent. Real fabrics are meshes of redundant switches: `fabric.py` folds those that stand for one another
into one `Switch` with several `members`, so that what is left is a tree. Tiers are counted from the node: its leaf
is tier 0, the leaf's parent tier 1, without a limit (the counting of Topograph's `fabric.topograph.run/tier-N`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from fairlead.devices.topology.errors import InvalidTopology, Problem, ProblemKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Switch:
    """A network switch, or a group of them that serve the same place. `parent` is "" at the top of a tree; `name` is
    what people call it, "" where it has only its id; `members` are the ids of a group's switches."""

    id: str
    parent: str = ""
    name: str = ""
    fabric: str = ""
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one node is. `leaves` are the ids of its leaf switches, at most one a fabric. `domain` is its accelerator
    domain (an NVLink domain, a TPU slice) and `sub_domain` the part of it. `instance` is its provider's id; `labels`
    what else a source said about it. Unknown texts are ""."""

    node: str
    leaves: tuple[str, ...] = ()
    domain: str = ""
    sub_domain: str = ""
    zone: str = ""
    region: str = ""
    instance: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Topology:
    """Switches by id and places by node name, both sorted. Made by `Topology.of`, which checks the rules."""

    switches: Mapping[str, Switch] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    @staticmethod
    def of(switches: Iterable[Switch] = (), places: Iterable[Place] = ()) -> Topology:
        """Raises InvalidTopology, which lists every broken rule."""
        problems: list[Problem] = []
        by_id = _unique(switches, lambda switch: switch.id, "switch", problems)
        by_node = _unique(places, lambda place: place.node, "node", problems)
        _check_switches(by_id, problems)
        for place in by_node.values():
            _check_place(place, by_id, problems)
        if problems:
            raise InvalidTopology(problems)
        return Topology(by_id, by_node)

    @cached_property
    def fabrics(self) -> tuple[str, ...]:
        """Fabrics that nodes hang from: the one with the most nodes first, then by name."""
        counted = Counter(self.switches[leaf].fabric for place in self.places.values() for leaf in place.leaves)
        return tuple(sorted(counted, key=lambda fabric: (-counted[fabric], fabric)))

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """Switch id ("" for the tops) -> ids of the switches right under it, sorted."""
        below: dict[str, list[str]] = {}
        for switch in self.switches.values():
            below.setdefault(switch.parent, []).append(switch.id)
        return {parent: tuple(ids) for parent, ids in below.items()}

    @cached_property
    def attached(self) -> Mapping[str, tuple[str, ...]]:
        """Leaf switch id -> names of the nodes on it, sorted."""
        on: dict[str, list[str]] = {}
        for place in self.places.values():
            for leaf in place.leaves:
                on.setdefault(leaf, []).append(place.node)
        return {leaf: tuple(nodes) for leaf, nodes in on.items()}

    @cached_property
    def tiers(self) -> Mapping[str, int]:
        """Switch id -> tier, counted from the node farthest below it (0 for a leaf, and for a switch without
        nodes)."""
        tiers = dict.fromkeys(self.switches, 0)
        for leaf in self.attached:
            for tier, identifier in enumerate(self.path_from(leaf)):
                tiers[identifier] = max(tiers[identifier], tier)
        return tiers

    @cached_property
    def domains(self) -> Mapping[str, tuple[str, ...]]:
        """Accelerator domain -> names of its nodes, sorted."""
        members: dict[str, list[str]] = {}
        for place in self.places.values():
            if place.domain:
                members.setdefault(place.domain, []).append(place.node)
        return {domain: tuple(members[domain]) for domain in sorted(members)}

    def leaf(self, node: str, fabric: str | None = None) -> str:
        """The node's leaf switch in a fabric (default: the first of `fabrics`), "" where it has none."""
        wanted = fabric if fabric is not None else (self.fabrics[0] if self.fabrics else "")
        for leaf in self.places[node].leaves:
            if self.switches[leaf].fabric == wanted:
                return leaf
        return ""

    def path(self, node: str, fabric: str | None = None) -> tuple[str, ...]:
        """Ids of the switches above a node, the closest first."""
        leaf = self.leaf(node, fabric)
        return self.path_from(leaf) if leaf else ()

    def path_from(self, switch: str) -> tuple[str, ...]:
        """A switch and all above it."""
        cached = self._paths.get(switch)
        if cached is None:
            found = [switch]
            while parent := self.switches[found[-1]].parent:
                found.append(parent)
            cached = self._paths[switch] = tuple(found)
        return cached

    @cached_property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        return {}


def _unique(items: Iterable[T], key: Callable[[T], str], word: str, problems: list[Problem]) -> dict[str, T]:
    found: dict[str, T] = {}
    for item in items:
        name = key(item)
        if not name:
            problems.append(Problem("EmptyName", "", f"a {word} has no name: {item}"))
        elif name in found:
            kind: ProblemKind = "DuplicateSwitch" if word == "switch" else "DuplicateNode"
            problems.append(Problem(kind, name, f'{word} "{name}" is there twice'))
        else:
            found[name] = item
    return dict(sorted(found.items()))


def _check_switches(switches: Mapping[str, Switch], problems: list[Problem]) -> None:
    for switch in switches.values():
        if not switch.parent:
            continue
        parent = switches.get(switch.parent)
        if parent is None:
            text = f'switch "{switch.id}" hangs from "{switch.parent}", which is not there'
            problems.append(Problem("UnknownSwitch", switch.id, text))
        elif parent.fabric != switch.fabric:
            text = f'switch "{switch.id}" of fabric "{switch.fabric}" hangs from "{parent.id}" of "{parent.fabric}"'
            problems.append(Problem("CrossFabric", switch.id, text))
    problems += _cycles(switches)


def _cycles(switches: Mapping[str, Switch]) -> list[Problem]:
    found: list[Problem] = []
    done: set[str] = set()
    for start in switches:
        walked: dict[str, None] = {}
        current = start
        while current in switches and current not in done:
            if current in walked:
                ring = list(walked)[list(walked).index(current) :]
                found.append(
                    Problem("Cycle", min(ring), f"switches hang from each other in a ring: {' > '.join(ring)}")
                )
                break
            walked[current] = None
            current = switches[current].parent
        done.update(walked)
    return found


def _check_place(place: Place, switches: Mapping[str, Switch], problems: list[Problem]) -> None:
    fabrics: dict[str, str] = {}
    for leaf in place.leaves:
        switch = switches.get(leaf)
        if switch is None:
            text = f'node "{place.node}" hangs from switch "{leaf}", which is not there'
            problems.append(Problem("UnknownSwitch", place.node, text))
        elif switch.fabric in fabrics:
            pair = f'"{fabrics[switch.fabric]}" and "{leaf}"'
            text = f'node "{place.node}" hangs from two leaf switches of one fabric, {pair}'
            problems.append(Problem("TwoLeaves", place.node, text))
        else:
            fabrics[switch.fabric] = leaf
    if place.sub_domain and not place.domain:
        text = f'node "{place.node}" is in accelerator sub-domain "{place.sub_domain}" but in no domain'
        problems.append(Problem("LoneSubDomain", place.node, text))


EMPTY = Topology()
