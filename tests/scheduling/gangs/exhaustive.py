"""What a gang could have, by trying everything: the yardstick of the search, for small cases only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.snapshot import NodeView, PodView

Places = Mapping[str, str]
"""Pod uid -> node, of the pods that are placed now."""

Asked = tuple[tuple[int, str], ...]
"""Alternatives of one claim: how many devices, of which model ("" for any)."""


@dataclass(frozen=True)
class World:
    nodes: Sequence[NodeView]
    models: Mapping[str, Sequence[str]]
    """By node: the models of its free devices."""
    asked: Mapping[str, Sequence[Asked]]
    """By pod uid: its claims."""


def every_placement(world: World, gang: Gang) -> Iterator[Places]:
    """All placements that keep every rule, the minimum included."""
    pods = [pod for pod in gang.pods if not pod.waits_for]
    choices = [None, *(node.name for node in world.nodes)]
    for chosen in itertools.product(choices, repeat=len(pods)):
        places = {pod.uid: name for pod, name in zip(pods, chosen, strict=True) if name is not None}
        if places and _has_room(world, pods, places) and is_valid(world, gang.root, places):
            yield places


def is_valid(world: World, group: Group, places: Places) -> bool:
    """Whether the group is placed as it must be: enough of it, and together."""
    return _is_enough(group, places) and _is_together(world, group, places)


def wishes(world: World, gang: Gang, places: Places) -> tuple[bool, ...]:
    """Which preferred levels hold, in order of importance."""
    found = []
    for group in _mandatory(gang.root):
        for level in group.topology.preferred:
            if level not in group.topology.required:
                found.append(_shares(world, _nodes_of(group, places), level))
    return tuple(found)


def best_wishes(world: World, gang: Gang) -> tuple[bool, ...] | None:
    """The best that any placement grants; None where there is no placement."""
    return max((wishes(world, gang, places) for places in every_placement(world, gang)), default=None)


def _mandatory(group: Group) -> Iterator[Group]:
    """The group and those below it without which it is not placed."""
    yield group
    if group.minimum_groups is None or group.minimum_groups >= len(group.groups):
        for each in group.groups:
            if _need(each):
                yield from _mandatory(each)


def _need(group: Group) -> int:
    needs = sorted(_need(each) for each in group.groups)
    least = len(needs) if group.minimum_groups is None else min(group.minimum_groups, len(needs))
    return max(0, group.minimum - len(group.all_bound), sum(needs[:least]))


def _is_enough(group: Group, places: Places) -> bool:
    placed = [pod for pod in group.all_pods if pod.uid in places]
    fine = [_is_enough(each, places) for each in group.groups]
    for each, is_fine in zip(group.groups, fine, strict=True):
        if not is_fine and any(pod.uid in places for pod in each.all_pods):
            return False
    least = len(fine) if group.minimum_groups is None else min(group.minimum_groups, len(fine))
    return len(placed) + len(group.all_bound) >= group.minimum and sum(fine) >= least


def _is_together(world: World, group: Group, places: Places) -> bool:
    if not any(pod.uid in places for pod in group.all_pods):
        return True
    topology = group.topology
    nodes = _nodes_of(group, places)
    if not all(_shares(world, nodes, level) for level in topology.required):
        return False
    if topology.slice_size:
        own = sorted((*group.pods, *group.bound), key=lambda pod: int(pod.name.rpartition("-")[2]))
        for i in range(0, len(own), topology.slice_size):
            cut = own[i : i + topology.slice_size]
            if any(pod.uid in places for pod in cut):
                there = [name for pod in cut if (name := places.get(pod.uid, pod.node))]
                if not _shares(world, there, topology.slice_level):
                    return False
    return all(_is_together(world, each, places) for each in group.groups)


def _nodes_of(group: Group, places: Places) -> list[str]:
    found = [places[pod.uid] for pod in group.all_pods if pod.uid in places]
    return found + [pod.node for pod in group.all_bound]


def _shares(world: World, names: Sequence[str], level: str) -> bool:
    values = {node.value(level) for node in world.nodes if node.name in names}
    return not values or (len(values) == 1 and None not in values)


def _has_room(world: World, pods: Sequence[PodView], places: Places) -> bool:
    for node in world.nodes:
        here = [pod for pod in pods if places.get(pod.uid) == node.name]
        for resource in ("cpu", "pods"):
            if sum(pod.shape.requests[resource] for pod in here) > node.allocatable[resource]:
                return False
        asked = [claim for pod in here for claim in world.asked.get(pod.uid, ())]
        if not _is_served(asked, list(world.models.get(node.name, ()))):
            return False
    return True


def _is_served(asked: Sequence[Asked], free: list[str]) -> bool:
    if not asked:
        return True
    for count, model in asked[0]:
        able = [i for i, each in enumerate(free) if model in ("", each)]
        for taken in itertools.combinations(able, count):
            if _is_served(asked[1:], [each for i, each in enumerate(free) if i not in taken]):
                return True
    return False
