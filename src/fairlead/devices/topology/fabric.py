"""From cables to a tree: which switches of a mesh stand for one place.

Real fabrics are not trees. A node with eight network cards has eight leaf switches (rails); a leaf has a port to each
spine of its group, perhaps in several planes that never meet. What matters for placing pods is the group: two nodes
are close if they share leaves, and leaves are close if they share spines. So, tier by tier from the nodes, switches
that share children are folded into one `Switch` with `members`:

- Two switches of a tier are folded if they share at least half of the children of the one that has fewer. A dead
cable
  therefore does not split a group, and one misplaced cable does not join two.
- A child that hangs from several groups goes to the one that holds most of its cables; the others are told as
remarks.
- The group's id is the smallest id of its members, so that it is stable while members stay.

Tiers come from the distance to the hosts (a switch with host cables is tier 0) unless the source knows better:
`ranks`. A spine with a single host on it (a fabric manager's) stays a spine. Cables between switches of one tier
(aggregation ports, rings) tell no parent and are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.devices.topology.model import Place, Switch, Topology

_LEAF_SHARE = 0.25
"""A switch with a host cable for every four trunks is a leaf, however full its neighbours are."""


@dataclass(frozen=True, slots=True)
class Cabling:
    """What a source saw. `nodes`: node -> switch id -> cables; `switches`: id -> name; `trunks`: pairs of switch
    ids, one for each cable, in any order; `hosts`: switch id -> cables to hosts that are no nodes of the cluster;
    `ranks`: switch id -> tier where the source says so."""

    nodes: Mapping[str, Mapping[str, int]]
    switches: Mapping[str, str]
    trunks: Iterable[tuple[str, str]] = ()
    hosts: Mapping[str, int] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Folded:
    """`remarks`: what did not fit, a sentence each."""

    topology: Topology
    remarks: tuple[str, ...]


def fold(cabling: Cabling, fabric: str) -> Folded:
    """A tree of the cabling. Switches without any node below them are left out."""
    trunks: dict[str, Counter[str]] = defaultdict(Counter)
    for one, other in cabling.trunks:
        if one != other:
            trunks[one][other] += 1
            trunks[other][one] += 1
    remarks: list[str] = []
    groups: dict[str, tuple[str, ...]] = {}
    parents: dict[str, str] = {}
    loose: dict[str, Mapping[str, int]] = {node: ports for node, ports in cabling.nodes.items() if ports}
    for tier in _tiers(cabling, trunks):
        members, above = _fold_tier(loose, tier, remarks)
        groups |= members
        parents |= above
        loose = {child: ports for child, ports in loose.items() if child not in above}
        # The next tier sees a group as one child, with as many cables as its members have together.
        for group, ids in members.items():
            loose[group] = sum((trunks[member] for member in ids), Counter())
    switches = [
        Switch(group, parents.get(group, ""), _group_name(ids, cabling.switches), fabric, ids if len(ids) > 1 else ())
        for group, ids in groups.items()
    ]
    places = [Place(node, (parents[node],) if node in parents else ()) for node in cabling.nodes]
    return Folded(Topology.of(switches, places), tuple(remarks))


def _tiers(cabling: Cabling, trunks: Mapping[str, Counter[str]]) -> list[set[str]]:
    """Switches by tier, the closest to the nodes first."""
    if cabling.ranks:
        by_rank: dict[int, set[str]] = defaultdict(set)
        for switch in cabling.switches:
            by_rank[cabling.ranks.get(switch, 0)].add(switch)
        return [by_rank[rank] for rank in sorted(by_rank)]
    tiers: list[set[str]] = []
    current = _leaves(cabling, trunks)
    seen: set[str] = set()
    while current:
        tiers.append(current)
        seen |= current
        current = {upper for switch in current for upper in trunks.get(switch, ())} - seen
    return tiers


def _leaves(cabling: Cabling, trunks: Mapping[str, Counter[str]]) -> set[str]:
    """Switches with hosts, but for those that hold few hosts for their trunks beside a neighbour that holds more."""
    hosts = Counter(cabling.hosts)
    for ports in cabling.nodes.values():
        hosts.update(ports)
    share = {
        switch: count / max(1, trunks[switch].total() if switch in trunks else 0) for switch, count in hosts.items()
    }
    return {
        switch
        for switch, own in share.items()
        if own >= _LEAF_SHARE or own >= max((share.get(peer, 0.0) for peer in trunks.get(switch, ())), default=0.0)
    }


def _fold_tier(
    loose: Mapping[str, Mapping[str, int]], tier: set[str], remarks: list[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Group id -> members, and child -> group id, of one tier."""
    below: dict[str, set[str]] = defaultdict(set)
    for child, ports in loose.items():
        for switch in ports:
            if switch in tier:
                below[switch].add(child)
    group_of = _grouped(below)
    above: dict[str, str] = {}
    for child, ports in loose.items():
        counted: Counter[str] = Counter()
        for switch, count in ports.items():
            if switch in tier:
                counted[group_of[switch]] += count
        if not counted:
            continue
        chosen, *others = sorted(counted, key=lambda group: (-counted[group], group))
        above[child] = chosen
        for other in others:
            remarks.append(
                f'"{child}" has {counted[chosen]} cables to the group of switch "{chosen}" and {counted[other]} to '
                f'that of "{other}"; it is counted with "{chosen}"'
            )
    used = set(above.values())
    members: dict[str, list[str]] = defaultdict(list)
    for switch, group in group_of.items():
        if group in used:
            members[group].append(switch)
    return {group: tuple(sorted(ids)) for group, ids in sorted(members.items())}, above


def _grouped(below: Mapping[str, set[str]]) -> dict[str, str]:
    """Switch -> smallest id of its group (union-find over pairs that share enough children)."""
    root = {switch: switch for switch in below}

    def find(switch: str) -> str:
        while root[switch] != switch:
            root[switch] = root[root[switch]]
            switch = root[switch]
        return switch

    # Most switches of a group have exactly the same children: those are joined without looking at pairs.
    same: dict[frozenset[str], str] = {}
    for switch in sorted(below):
        first = same.setdefault(frozenset(below[switch]), switch)
        root[switch] = first
    sharing: Counter[tuple[str, str]] = Counter()
    on: dict[str, list[str]] = defaultdict(list)
    for switch in sorted(set(same.values())):
        for child in below[switch]:
            on[child].append(switch)
    for switches in on.values():
        for index, one in enumerate(switches):
            for other in switches[index + 1 :]:
                sharing[one, other] += 1
    for (one, other), shared in sharing.items():
        if 2 * shared >= min(len(below[one]), len(below[other])):
            a, b = sorted((find(one), find(other)))
            root[b] = a
    return {switch: find(switch) for switch in below}


def _group_name(ids: tuple[str, ...], names: Mapping[str, str]) -> str:
    """The name of the group's first switch; nothing where a name only repeats the id."""
    name = names.get(ids[0], "")
    return "" if name == ids[0] else name
