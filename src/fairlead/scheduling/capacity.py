"""How often something still fits: a gang placed again and again on a trial until it is refused.

The answer is the scheduler's own: each copy goes where the search would put it, and the next one sees it there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    gang: Gang,
    *,
    limit: int = MOST_COPIES,
    levels: Sequence[str] = (),
    explains: bool = True,
    place: Place = place_gang,
    step: Step = lambda _: None,
) -> Fit:
    """Copies of the gang's pods, all of them pending, that fit besides everything that is on the fleet now.

    A pod whose copies do not look at each other is counted by the room on each node; everything else is placed copy by
    copy. The fleet is as before afterwards.
    """
    pods = gang.pods
    if not pods or limit <= 0:
        return Fit(0, is_most=not pods)
    if len(pods) == 1 and is_independent(gang):
        return _by_room(outlook, gang, limit, levels, explains, place)
    return _by_placing(outlook, gang, limit, levels, explains, place, step)


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
    left = limit
    for row, room in zip(rows, rooms, strict=True):
        node, taken = fleet.nodes[row], min(int(room), left)
        if node is not None and taken:
            by_node[node.name] += taken
            left -= taken
    count = limit - left
    stopped_by = None
    if left and explains and not count:
        verdict = _try(outlook, gang, place)
        stopped_by = verdict.explanation if isinstance(verdict, Refused) else None
    domains: dict[str, Counter[str]] = {level: Counter() for level in levels}
    for name, pods in by_node.items():
        node = fleet.nodes[fleet.row_of[name]]
        for level in levels:
            value = node.value(level) if node is not None else None
            if value is not None:
                domains[level][value] += pods
    return Fit(count, left > 0, domains, by_node, stopped_by)


def _try(outlook: Outlook, gang: Gang, place: Place) -> Placed | Refused:
    with outlook.fleet.trial(), copies(outlook, gang, 0) as copy:
        return place(outlook, copy, Limits())


def _by_placing(
    outlook: Outlook, gang: Gang, limit: int, levels: Sequence[str], explains: bool, place: Place, step: Step
) -> Fit:
    fleet = outlook.fleet
    domains: dict[str, Counter[str]] = {level: Counter() for level in levels}
    by_node: Counter[str] = Counter()
    made: list[Gang] = []
    stopped_by: Explanation | None = None
    mark = fleet.mark()
    try:
        while len(made) < limit:
            copy = copy_of(gang, len(made))
            _enter(outlook, copy)
            made.append(copy)
            verdict = place(outlook, copy, Limits(explains=explains))
            if isinstance(verdict, Refused):
                stopped_by = verdict.explanation
                break
            _tally(outlook, verdict, domains, by_node)
            step(len(made))
    finally:
        fleet.undo(mark)
        for copy in made:
            _forget(outlook, copy)
    count = len(made) - (stopped_by is not None)
    return Fit(count, stopped_by is not None, domains, by_node, stopped_by)


def _tally(outlook: Outlook, verdict: Placed, domains: Mapping[str, Counter[str]], by_node: Counter[str]) -> None:
    fleet = outlook.fleet
    nodes = [fleet.nodes[fleet.row_of[each.node]] for each in verdict.assignments]
    by_node.update(each.node for each in verdict.assignments)
    for level, counts in domains.items():
        values = {node.value(level) for node in nodes if node is not None} - {None}
        if values:
            counts[next(iter(values)) or "" if len(values) == 1 else SEVERAL] += 1


@contextmanager
def copies(outlook: Outlook, gang: Gang, number: int) -> Iterator[Gang]:
    """A copy of the gang whose claims are in the fleet meanwhile."""
    copy = copy_of(gang, number)
    _enter(outlook, copy)
    try:
        yield copy
    finally:
        _forget(outlook, copy)


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


def _enter(outlook: Outlook, copy: Gang) -> None:
    """The copy's own claims are in the fleet: without devices, equal to the shape's."""
    for pod in copy.pods:
        for name, claim in zip(pod.own_claims, pod.shape.own_claims, strict=True):
            metadata = with_fields(claim.metadata, name=name, namespace=pod.namespace, uid=f"{pod.uid}/{name}")
            outlook.fleet.set_claim(with_fields(claim, metadata=metadata))


def _forget(outlook: Outlook, copy: Gang) -> None:
    for pod in copy.pods:
        for name in pod.own_claims:
            outlook.fleet.remove_claim((pod.namespace, name))
