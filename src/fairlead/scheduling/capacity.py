"""How often something still fits: a gang placed again and again on a trial until it is refused.

The answer is the scheduler's own: each copy goes where the search would put it, and the next one sees it there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec.structs import replace as with_fields

from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang, Group, Topology
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Explanation, Placed, Refused

MOST_COPIES: Final = 10_000
SEVERAL: Final = "(several)"
"""In place of a domain, for copies whose pods lie in more than one."""

Place = Callable[[Outlook, Gang, Limits], Placed | Refused]
Step = Callable[[int], None]
"""Told how many copies are placed."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How many copies have a place."""

    count: int
    is_most: bool
    """Whether no more than that fit; False where counting ended at the limit."""
    by_level: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Topology level -> domain -> copies."""
    by_node: Mapping[str, int] = field(default_factory=dict)
    """Node -> pods of copies."""
    stopped_by: Explanation | None = None
    """Why the next copy has no place; None where that was not asked."""


def count_more(
    outlook: Outlook,
    gangs: Sequence[Gang],
    *,
    limit: int = MOST_COPIES,
    levels: Sequence[str] = (),
    explains: bool = True,
    place: Place = place_gang,
    step: Step = lambda _: None,
) -> Fit:
    """Copies of these gangs together that fit besides everything that is on the fleet now.

    A single pod whose copies do not look at each other is counted by the room on each node; everything else is placed
    copy by copy. The fleet is as before afterwards.
    """
    pods = [pod for gang in gangs for pod in gang.pods]
    if not pods or limit <= 0:
        return Fit(0, is_most=not pods)
    if len(pods) == 1 and is_independent(gangs[0]):
        return _by_room(outlook, gangs[0], limit, levels, explains, place)
    return _by_placing(outlook, gangs, limit, levels, explains, place, step)


def is_independent(gang: Gang) -> bool:
    """Whether one more copy of its only pod on a node changes nothing for copies on other nodes."""
    (pod,) = gang.pods
    shape = pod.shape
    looks_around = shape.near or shape.far or shape.spread or shape.shared_claims or shape.volumes
    return not looks_around and all(group.topology == Topology() for group in gang.root.walk())


def _by_room(outlook: Outlook, gang: Gang, limit: int, levels: Sequence[str], explains: bool, place: Place) -> Fit:
    fleet = outlook.fleet
    rows = [row for row, node in enumerate(fleet.nodes) if node is not None]
    rooms = outlook.of(gang.pods[0].shape).rooms(rows, limit)
    by_node: Counter[str] = Counter()
    domains: dict[str, Counter[str]] = {level: Counter() for level in levels}
    left = limit
    for row, room in zip(rows, rooms, strict=True):
        node, taken = fleet.nodes[row], min(int(room), left)
        if node is None or not taken:
            continue
        left -= taken
        by_node[node.name] += taken
        for level, counts in domains.items():
            value = node.value(level)
            if value is not None:
                counts[value] += taken
    stopped_by = None
    if left and explains:
        stopped_by = _refusal_of_next(outlook, gang, by_node, place)
    return Fit(limit - left, left > 0, domains, by_node, stopped_by)


def _refusal_of_next(outlook: Outlook, gang: Gang, by_node: Mapping[str, int], place: Place) -> Explanation | None:
    """Why there is no place for one more, once these are there."""
    fleet = outlook.fleet
    made: list[Gang] = []
    mark = fleet.mark()
    try:
        for name, count in by_node.items():
            for _ in range(count):
                copy = _enter(outlook, gang, len(made))
                made.append(copy)
                fleet.place(copy.pods[0], fleet.row_of[name])
        made.append(_enter(outlook, gang, len(made)))
        verdict = place(outlook, made[-1], Limits())
        return verdict.explanation if isinstance(verdict, Refused) else None
    finally:
        fleet.undo(mark)
        for copy in made:
            _forget(outlook, copy)


def _by_placing(
    outlook: Outlook, gangs: Sequence[Gang], limit: int, levels: Sequence[str], explains: bool, place: Place, step: Step
) -> Fit:
    fleet = outlook.fleet
    domains: dict[str, Counter[str]] = {level: Counter() for level in levels}
    by_node: Counter[str] = Counter()
    made: list[Gang] = []
    count, stopped_by = 0, None
    mark = fleet.mark()
    try:
        while count < limit and stopped_by is None:
            nodes: list[str] = []
            for gang in gangs:
                copy = _enter(outlook, gang, count)
                made.append(copy)
                verdict = place(outlook, copy, Limits(explains=explains))
                if isinstance(verdict, Refused):
                    stopped_by = verdict.explanation
                    break
                nodes += [each.node for each in verdict.assignments]
            else:
                _tally(outlook, nodes, domains, by_node)
                count += 1
                step(count)
    finally:
        fleet.undo(mark)
        for copy in made:
            _forget(outlook, copy)
    return Fit(count, stopped_by is not None, domains, by_node, stopped_by)


def _tally(outlook: Outlook, names: Sequence[str], domains: Mapping[str, Counter[str]], by_node: Counter[str]) -> None:
    fleet = outlook.fleet
    nodes = [node for name in names if (node := fleet.nodes[fleet.row_of[name]]) is not None]
    by_node.update(names)
    for level, counts in domains.items():
        values = {value for node in nodes if (value := node.value(level)) is not None}
        if values:
            counts[values.pop() if len(values) == 1 else SEVERAL] += 1


def copy_of(gang: Gang, number: int) -> Gang:
    """The gang with pods and own claims of other names, as if nothing of it were bound. Shared claims stay shared."""

    def renamed(pod: PodView) -> PodView:
        names = {name: f"{name}~{number}" for name in pod.own_claims}
        return replace(
            pod,
            name=f"{pod.name}~{number}",
            uid=f"{pod.uid}~{number}",
            own_claims=tuple(names.values()),
            claims=tuple(names.get(name, name) for name in pod.claims),
            node="",
            nominated="",
        )

    def copied(group: Group) -> Group:
        return replace(group, pods=tuple(map(renamed, group.pods)), groups=tuple(map(copied, group.groups)), bound=())

    return replace(gang, name=f"{gang.name}~{number}", root=copied(gang.root), waits_for="")


def _enter(outlook: Outlook, gang: Gang, number: int) -> Gang:
    """A copy, whose own claims are in the fleet: without devices, equal to the shape's."""
    copy = copy_of(gang, number)
    for pod in copy.pods:
        for name, claim in zip(pod.own_claims, pod.shape.own_claims, strict=True):
            metadata = with_fields(claim.metadata, name=name, namespace=pod.namespace, uid=f"{pod.uid}/{name}")
            outlook.fleet.set_claim(with_fields(claim, metadata=metadata))
    return copy


def _forget(outlook: Outlook, copy: Gang) -> None:
    for pod in copy.pods:
        for name in pod.own_claims:
            outlook.fleet.remove_claim((pod.namespace, name))
