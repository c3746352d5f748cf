"""From victims that are enough to victims that are needed: nobody leaves if the gang fits all the same."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Final

from fairlead.scheduling.eviction.case import Case, Plan
from fairlead.scheduling.eviction.cost import Rank
from fairlead.scheduling.eviction.units import Unit
from fairlead.scheduling.snapshot import PodView, Shape

MOST_FOR_ALL_SETS: Final = 12
"""With so few units the best set is looked for among all sets."""
_MOST_ASKED: Final = 4 * MOST_FOR_ALL_SETS
_MOST_PROOFS: Final = 256

Domain = tuple[str | None, ...]


def can_count(case: Case) -> bool:
    """Whether counting places tells who is needed: where all pods are alike."""
    return case.need.only_shape is not None


def spare_by_count(case: Case, units: Sequence[Unit]) -> list[Unit]:
    """Units without those that are not needed by the count of places; for gangs of equal pods, else all.

    The rooms of the nodes together are never less than what can be placed, so whoever is needed by this count is
    needed. The dearest are spared first.
    """
    shape = case.need.only_shape
    if shape is None:
        return list(units)
    slots = _Slots(case, shape, units)
    spared: set[Unit] = set()
    # Of units that are alike one is needed if another is; and the fewer there are, the more each is needed.
    needed: set[Hashable] = set()
    for unit in _dearest_first(units):
        likeness = slots.likeness(unit)
        if likeness in needed:
            continue
        case.steps.spend(1)
        if slots.is_enough_without(unit):
            spared.add(unit)
        else:
            needed.add(likeness)
    return [unit for unit in units if unit not in spared]


def spare_by_proof(case: Case, plan: Plan) -> Plan:
    """The plan without those whose staying still lets the gang fit, the dearest spared first."""
    for unit in _dearest_first(plan.units):
        better = case.prove(each for each in plan.units if each is not unit)
        if better is not None and better.rank < plan.rank:
            plan = better
    return plan


def best_of_all_sets(case: Case, plan: Plan | None) -> Plan | None:
    """The best plan there is, where there are few units; `plan` where nothing is better or too much had to be tried.

    Sets are tried in the order of their rank, so that the first that is proven is the best.
    """
    if len(case.units.all) > _MOST_ASKED:
        return plan
    units = [unit for unit in case.units.all if case.units.may(unit)]
    if len(units) > MOST_FOR_ALL_SETS:
        return plan
    for number, chosen in enumerate(_sets(units, plan.rank if plan is not None else None)):
        if number >= _MOST_PROOFS:
            break
        found = case.prove(chosen)
        if found is not None and (plan is None or found.rank < plan.rank):
            return found
    return plan


def _sets(units: Sequence[Unit], bound: Rank | None) -> Iterator[tuple[Unit, ...]]:
    """Sets of units in the order of their rank, as long as it is below the bound. What budgets say of them is left out:
    it can only make them worse."""
    lowest = min((unit.level for unit in units), default=0)
    heap: list[tuple[Rank, int, tuple[Unit, ...]]] = [(Rank(), 0, ())]
    count = 0
    while heap:
        rank, _, chosen = heapq.heappop(heap)
        if bound is not None and rank[1:4] > bound[1:4] and rank.violations >= bound.violations:
            return
        yield chosen
        after = chosen[-1].order if chosen else -1
        for unit in (each for each in units if each.order > after):
            count += 1
            wider = (*chosen, unit)
            heapq.heappush(heap, (_rank(wider, lowest), count, wider))


def _rank(units: Sequence[Unit], lowest: int) -> Rank:
    """As `Draft.rank`, never less for more units."""
    gone = {pod.uid for unit in units for pod in unit.pods}
    gangs = {unit.of: unit.level for unit in units}
    return Rank(
        0,
        max(gangs.values()),
        len(gone),
        len(gangs),
        sum(level - lowest for level in gangs.values()),
        sum(unit.cost for unit in units if unit.is_whole or not _is_in_whole(unit, units)),
    )


def _is_in_whole(unit: Unit, units: Iterable[Unit]) -> bool:
    return any(each.is_whole and each.of is unit.of for each in units)


def _dearest_first(units: Iterable[Unit]) -> list[Unit]:
    return sorted(units, key=lambda unit: (-unit.level, -len(unit.pods), -unit.cost, unit.order))


class _Slots:
    """How many pods of a shape fit, row by row, when victims leave; and in each domain of the levels that bind them."""

    def __init__(self, case: Case, shape: Shape, units: Sequence[Unit]) -> None:
        self._case = case
        self._shape = shape
        self._wanted = case.need.size
        self._on: dict[int, dict[Unit, list[PodView]]] = {}
        for unit in units:
            for row, pods in case.units.rows_of(unit).items():
                self._on.setdefault(row, {})[unit] = pods
        self._rooms: dict[int, int] = {row: self._room(row, None) for row in self._on}
        self._totals: dict[Domain, int] = {}
        for row in self._on:
            self._totals.setdefault(self._domain(row), 0)
        self._count()

    def likeness(self, unit: Unit) -> Hashable:
        """The same for units that give the same in the same places."""
        rows = self._case.units.rows_of(unit).items()
        return frozenset((row, frozenset(Counter(pod.shape for pod in pods).items())) for row, pods in rows)

    def is_needed(self, unit: Unit) -> bool:
        """Whether there is no room for all without it in any domain."""
        losses: dict[Domain, int] = {}
        for row in self._case.units.rows_of(unit):
            domain = self._domain(row)
            losses[domain] = losses.get(domain, 0) + self._rooms[row] - self._room(row, unit)
        return all(total - losses.get(domain, 0) < self._wanted for domain, total in self._totals.items())

    def is_enough_without(self, unit: Unit) -> bool:
        """The opposite; the unit is then taken to stay."""
        if self.is_needed(unit):
            return False
        for row in self._case.units.rows_of(unit):
            room = self._room(row, unit)
            domain = self._domain(row)
            self._totals[domain] += room - self._rooms[row]
            self._rooms[row] = room
            del self._on[row][unit]
        return True

    def _room(self, row: int, without: Unit | None) -> int:
        fleet, outlook = self._case.outlook.fleet, self._case.outlook
        with fleet.trial():
            for unit, pods in self._on[row].items():
                if unit is not without:
                    for pod in pods:
                        fleet.lift(pod.uid, frees_claims=True)
            return outlook.of(self._shape).room(row, self._wanted)

    def _count(self) -> None:
        fleet = self._case.outlook.fleet
        rows = [row for row, node in enumerate(fleet.nodes) if node is not None and row not in self._on]
        rooms = self._case.outlook.of(self._shape).rooms(rows, self._wanted)
        for place in rooms.nonzero()[0]:
            domain = self._domain(rows[place])
            if domain in self._totals:
                self._totals[domain] += int(rooms[place])
        for row, room in self._rooms.items():
            self._totals[self._domain(row)] += room

    def _domain(self, row: int) -> Domain:
        node = self._case.outlook.fleet.nodes[row]
        return tuple(node.value(level) if node is not None else None for level in self._case.need.levels)
