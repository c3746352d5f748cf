"""Several sources of topology become one.

Sources add to each other: InfiniBand tells switches, labels tell zones, drivers tell NVLink domains. Where two say
different things about the same field, that is a conflict: named, and either refused or settled for the source that
comes first. Without conflicts the order of the sources does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fairlead.devices.topology.errors import Conflict, MergeConflict
from fairlead.devices.topology.model import Place, Switch, Topology

_PLACE_FIELDS = ("domain", "sub_domain", "zone", "region", "instance")
_SWITCH_FIELDS = ("parent", "name", "fabric")


@dataclass(frozen=True, slots=True)
class Merged:
    """`conflicts` were settled for the first source that spoke."""

    topology: Topology
    conflicts: tuple[Conflict, ...]


def merge(sources: Sequence[tuple[str, Topology]]) -> Topology:
    """One topology of (name, topology) pairs. Raises MergeConflict, InvalidTopology."""
    merged = merge_preferring_first(sources)
    if merged.conflicts:
        raise MergeConflict(merged.conflicts)
    return merged.topology


def merge_preferring_first(sources: Sequence[tuple[str, Topology]]) -> Merged:
    """As `merge`, but a conflict goes to the source that comes first. Raises InvalidTopology where what results is no
    tree (two sources whose switches hang from each other)."""
    conflicts: list[Conflict] = []
    switches: dict[str, tuple[str, Switch]] = {}
    for source, topology in sources:
        for switch in topology.switches.values():
            known = switches.get(switch.id)
            switches[switch.id] = (
                (source, switch) if known is None else (known[0], _join_switches(known, (source, switch), conflicts))
            )
    places: dict[str, tuple[str, Place]] = {}
    fabrics = {identifier: switch.fabric for identifier, (_, switch) in switches.items()}
    for source, topology in sources:
        for place in topology.places.values():
            known_place = places.get(place.node)
            places[place.node] = (
                (source, place)
                if known_place is None
                else (known_place[0], _join_places(known_place, (source, place), fabrics, conflicts))
            )
    topology = Topology.of((switch for _, switch in switches.values()), (place for _, place in places.values()))
    return Merged(topology, tuple(conflicts))


def _join_switches(first: tuple[str, Switch], second: tuple[str, Switch], conflicts: list[Conflict]) -> Switch:
    one, other = first[1], second[1]
    if one == other:
        return one
    subject = f'switch "{one.id}"'
    values = {
        field: _agreed(subject, field, first[0], getattr(one, field), second[0], getattr(other, field), conflicts)
        for field in _SWITCH_FIELDS
    }
    members = tuple(sorted({*one.members, *other.members}))
    return replace(one, **values, members=members)


def _join_places(
    first: tuple[str, Place], second: tuple[str, Place], fabrics: Mapping[str, str], conflicts: list[Conflict]
) -> Place:
    one, other = first[1], second[1]
    if one == other:
        return one
    subject = f'node "{one.node}"'
    values = {
        field: _agreed(subject, field, first[0], getattr(one, field), second[0], getattr(other, field), conflicts)
        for field in _PLACE_FIELDS
    }
    leaves = {fabrics[leaf]: leaf for leaf in one.leaves}
    for leaf in other.leaves:
        known = leaves.setdefault(fabrics[leaf], leaf)
        if known != leaf:
            conflicts.append(Conflict(subject, "leaf switch", ((first[0], known), (second[0], leaf))))
    labels = dict(one.labels)
    for key, value in other.labels.items():
        labels[key] = _agreed(subject, f"label {key}", first[0], labels.get(key, ""), second[0], value, conflicts)
    return replace(one, leaves=tuple(sorted(leaves.values())), labels=dict(sorted(labels.items())), **values)


def _agreed(
    subject: str, field: str, source: str, value: str, other_source: str, other: str, conflicts: list[Conflict]
) -> str:
    if value and other and value != other:
        conflicts.append(Conflict(subject, field, ((source, value), (other_source, other))))
    return value or other
