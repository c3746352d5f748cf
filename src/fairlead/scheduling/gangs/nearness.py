"""How near a gang came: the part that is short of room, and its domains with what they hold of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.options import NOWHERE
from fairlead.scheduling.gangs.attempts import Attempts
from fairlead.scheduling.gangs.model import Gang, Group, Topology
from fairlead.scheduling.gangs.moves import Settle, put_down
from fairlead.scheduling.gangs.parts import Batch, Part, divide
from fairlead.scheduling.gangs.places import candidate_places, pinned_domain
from fairlead.scheduling.gangs.trial import Budget, OutOfBudgetError, Place, Trial
from fairlead.scheduling.gangs.wording import count_reasons
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import DomainReport

Ints = npt.NDArray[np.int64]

_MOST_REPORTS: Final = 20
_TRIED: Final = 3
"""Domains in which pods are put down to see how many fit together; of the others the room is counted."""
_BUDGET: Final = 5_000
"""Steps of the search that asks whether the topology is what stands in the way."""


@dataclass(slots=True)
class Shortage:
    """What a refusal tells of."""

    part_name: str
    """"" where it is the whole gang."""
    levels: tuple[str, ...]
    wanted: int
    found: int = 0
    reports: list[DomainReport] = field(default_factory=list)
    beside: tuple[int, int] = (0, 0)
    """How many groups have a place before it is this one's turn, and of how many; 0 and 0 where it has none anyway."""
    domains: int = 0
    """How many there are, told of or not."""
    pinned: str = ""
    """Where pods of it are already, if that leaves no domain."""
    pod: PodView | None = None
    """The first pod without a place in the nearest domain."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Why that pod has none, by node."""
    for_the_others: str = ""


def find_shortage(attempts: Attempts, place: Place, *, explains: bool) -> Shortage:
    """The first part that finds no domain with room enough for itself; else the first that finds none beside those
    before it; else the whole gang."""
    root = attempts.root
    for part in _walk(root):
        shortage = _shortage(attempts, part, place, max(1, part.need))
        if shortage.found < shortage.wanted or shortage.pinned:
            break
    else:
        beside = _shortage_beside(attempts, place) if explains else None
        if beside is not None:
            return beside
        part, shortage = root, _shortage(attempts, root, place, max(1, root.need))
    shortage.part_name = "" if part is root else part.name
    if explains:
        _look_closer(attempts, part, place, shortage)
    return shortage


def _shortage_beside(attempts: Attempts, place: Place) -> Shortage | None:
    """Places the parts of the gang one after the other and tells of the first that finds no place; None where there is
    no such part."""
    root, rules = attempts.root, attempts.rules
    everyone = frozenset(part.number for part in _walk(root))
    with attempts.outlook.fleet.trial():
        trial = attempts.trial(budget=Budget(_BUDGET + 60 * root.size), strict=everyone, is_thorough=True)
        first = Settle(rules, root, place, max(1, root.need))
        levels = root.topology.required
        within = next(candidate_places(trial, rules.bounds, root, place, levels, first.target), None)
        decisions = first.first_way(within) if within is not None else ()
        groups = [each for each in decisions if isinstance(each, Settle)]
        for done, each in enumerate(groups):
            try:
                is_placed = trial.solve(each)
            except OutOfBudgetError:
                return None
            if not is_placed:
                assert within is not None
                shortage = _shortage(attempts, each.part, within, each.target)
                shortage.part_name, shortage.beside = each.part.name, (done, len(groups))
                _look_closer(attempts, each.part, within, shortage)
                return shortage
    return None


def fits_without_topology(attempts: Attempts, gang: Gang, place: Place) -> bool:
    """Whether the gang would fit if no pods of it had to share a domain."""
    if not any(part.topology.required for part in _walk(attempts.root)):
        return False
    loose = divide(replace(gang, root=_loosen(gang.root)))
    search = Attempts(attempts.outlook, loose, _BUDGET)
    with attempts.outlook.fleet.trial():
        try:
            return search.solve(place) is not None
        except OutOfBudgetError:
            return False


def _loosen(group: Group) -> Group:
    groups = tuple(_loosen(each) for each in group.groups)
    return replace(group, topology=Topology(), groups=groups)


def _walk(part: Part) -> list[Part]:
    """The part and those below it that must be placed."""
    return [part, *(found for each in part.parts if each.need for found in _walk(each))]


def _shortage(attempts: Attempts, part: Part, place: Place, wanted: int) -> Shortage:
    """What `wanted` pods of a part find by numbers, domain by domain, the nearest first."""
    trial = attempts.trial()
    levels = part.topology.required
    shortage = Shortage("", levels, wanted)
    rooms = {shape: attempts.rules.bounds.of(trial, shape, count) for shape, count in part.shapes.items()}
    if not levels:
        shortage.found = sum(min(int(rooms[shape][place.rows].sum()), count) for shape, count in part.shapes.items())
        shortage.found = min(shortage.found, wanted)
        return shortage
    cut = attempts.survey.domains.cut(levels)
    ids = cut.ids[place.rows]
    rows, ids = place.rows[ids >= 0], ids[ids >= 0]
    present = np.flatnonzero(np.bincount(ids, minlength=len(cut.values)))
    pinned = pinned_domain(trial, part, cut)
    if pinned is not None:
        present = present[present == pinned]
        if not len(present):
            shortage.pinned = ", ".join(sorted(set(part.bound)))
    found = np.zeros(len(cut.values), dtype=np.int64)
    for shape, count in part.shapes.items():
        sums = np.bincount(ids, weights=rooms[shape][rows], minlength=len(cut.values)).astype(np.int64)
        found += np.minimum(sums, count)
    found = np.minimum(found, wanted)
    shortage.domains = len(present)
    for domain in present[np.argsort(-found[present], kind="stable")][:_MOST_REPORTS].tolist():
        value = ", ".join(cut.values[domain])
        shortage.reports.append(DomainReport(", ".join(levels), value, wanted, int(found[domain])))
    shortage.found = int(found[present].max()) if len(present) else 0
    return shortage


def _look_closer(attempts: Attempts, part: Part, place: Place, shortage: Shortage) -> None:
    """Puts down what fits in the nearest domains and asks why no more; of the others only why nodes are closed."""
    if not shortage.levels:
        shortage.found, shortage.pod, reasons = _fill(attempts, part, place, shortage.wanted)
        shortage.reasons = reasons
        shortage.for_the_others = count_reasons(sum(reasons.values()), reasons).rstrip(".")
        return
    cut = attempts.survey.domains.cut(shortage.levels)
    names = [", ".join(value) for value in cut.values]
    ids = cut.ids[place.rows]
    pods: dict[str, PodView | None] = {}
    for i, report in enumerate(shortage.reports):
        rows = place.rows[ids == names.index(report.value)]
        if i < _TRIED:
            found, pods[report.value], reasons = _fill(
                attempts, part, Place(rows, ("near", report.value)), report.wanted
            )
            shortage.reports[i] = replace(report, found=found, reasons=reasons)
        else:
            shortage.reports[i] = replace(report, reasons=_closed(attempts, part, rows))
    shortage.reports.sort(key=lambda report: -report.found)
    if shortage.reports:
        nearest = shortage.reports[0]
        shortage.found = nearest.found
        shortage.reasons, shortage.pod = nearest.reasons, pods.get(nearest.value)
        total = sum(nearest.reasons.values())
        shortage.for_the_others = count_reasons(total, nearest.reasons).rstrip(".") if total else ""


def _fill(attempts: Attempts, part: Part, place: Place, wanted: int) -> tuple[int, PodView | None, Mapping[str, int]]:
    """How many of the pods that must be placed fit one after the other, the first that does not, and why."""
    trial = attempts.trial(budget=Budget(1 << 60))
    left = wanted
    first: PodView | None = None
    reasons: Counter[str] = Counter()
    with attempts.outlook.fleet.trial():
        for batch in _batches(part):
            pods = batch.pods[:left]
            put = _put_most(trial, part, place, pods)
            left -= put
            if put < len(pods) and first is None:
                first = pods[put]
                options = trial.options(first.shape)
                rows = place.rows.tolist()
                reasons.update(options.reason(row) or "no room for all of the gang" for row in rows)
            if not left:
                break
    return wanted - left, first, dict(reasons)


def _put_most(trial: Trial, part: Part, place: Place, pods: tuple[PodView, ...]) -> int:
    if put_down(trial, part, place, pods):
        return len(pods)
    before = len(trial.put)
    options = trial.options(pods[0].shape)
    count = min(len(pods), int(trial.survey.rooms(options, len(pods))[place.rows].sum()))
    put_down(trial, part, place, pods[:count])
    for pod in pods[len(trial.put) - before :]:
        if not put_down(trial, part, place, [pod]):
            break
    return len(trial.put) - before


def _batches(part: Part) -> Iterator[Batch]:
    for each in part.parts:
        yield from _batches(each)
    yield from part.batches


def _closed(attempts: Attempts, part: Part, rows: Ints) -> Mapping[str, int]:
    """Why rows take no pod of the part at all; the others take some."""
    if not part.shapes:
        return {}
    options = attempts.outlook.of(max(part.shapes, key=lambda each: part.shapes[each]))
    closed = rows[options.scores[rows] == NOWHERE].tolist()
    reasons = Counter(options.reason(row) for row in closed)
    if len(rows) > len(closed):
        reasons["no room for all of the gang"] = len(rows) - len(closed)
    return dict(reasons)
