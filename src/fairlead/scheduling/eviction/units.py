"""What can be taken of others in one piece: a gang, or one pod that it can spare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.scheduling.eviction.bystanders import Bystander, serves
from fairlead.scheduling.eviction.cost import price_of
from fairlead.scheduling.eviction.reasons import Reasons
from fairlead.scheduling.eviction.rights import YIELDING, Denial, Right, fixture, objection
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import PodView

if TYPE_CHECKING:
    from fairlead.scheduling.eviction.case import Question


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Pods of one gang that go together."""

    of: Bystander
    level: int
    """Lower ones go strictly first."""
    pods: tuple[PodView, ...]
    is_whole: bool
    cost: float
    """Pod-hours."""
    order: int
    """By which ties are broken."""


Ask = Callable[[Bystander], Right | Denial]


class Units:
    """All that may be taken for a gang, and where it stands. Whether it may is asked when it matters, once."""

    def __init__(self, fleet: Fleet, ask: Ask, reasons: Reasons) -> None:
        self.all: list[Unit] = []
        self.on: dict[int, list[tuple[Unit, PodView]]] = {}
        """By row: the pods that stand there."""
        self._fleet = fleet
        self._ask = ask
        self._reasons = reasons
        self._answers: dict[Bystander, Right | Denial] = {}

    def add(self, of: Bystander, level: int, now_s: float) -> None:
        """A gang may be taken if it is allowed: all of it, or pods that it can spare."""
        for pod in of.surplus:
            self._add(Unit(of, level, (pod,), False, price_of((pod,)).at(now_s), len(self.all)))
        self._add(Unit(of, level, of.pods, True, of.price.at(now_s), len(self.all)))

    def may(self, unit: Unit, *, alone: bool = True) -> bool:
        """Whether it may be taken by itself. Why not goes to the reasons.

        Not `alone`: others are taken at the moment. A right that there is then is there without them too; a denial may
        be for what they are together, and is not kept.
        """
        answer = self._answers.get(unit.of)
        if answer is None:
            answer = self._ask(unit.of)
            if isinstance(answer, Denial):
                if not alone:
                    self._reasons.is_limited = True
                    return False
                self._reasons.add(unit.of, answer)
            self._answers[unit.of] = answer
        return isinstance(answer, Right)

    def right(self, unit: Unit) -> Right:
        """By what right. Raises LookupError where there is none."""
        answer = self._answers.get(unit.of)
        if not isinstance(answer, Right):
            raise LookupError(f"there is no right to take {unit.of.gang.key}")
        return answer

    def ask_all(self) -> None:
        """So that the reasons are complete."""
        for unit in self.all:
            self.may(unit)

    def rows_of(self, unit: Unit) -> dict[int, list[PodView]]:
        """Its pods by row."""
        found: dict[int, list[PodView]] = {}
        for pod in unit.pods:
            standing = self._fleet.pods.get(pod.uid)
            if standing is not None:
                found.setdefault(standing.row, []).append(pod)
        return found

    def _add(self, unit: Unit) -> None:
        standing, on = self._fleet.pods, self.on
        stands = False
        for pod in unit.pods:
            found = standing.get(pod.uid)
            if found is not None:
                stands = True
                row = found.row
                if row in on:
                    on[row].append((unit, pod))
                else:
                    on[row] = [(unit, pod)]
        if stands:
            self.all.append(unit)


def units_to_evict(question: Question, reasons: Reasons) -> Units:
    """What may be evicted for a gang, with its rights."""
    gang, rights, now_s = question.gang, question.rights, question.now_s

    def ask(other: Bystander) -> Right | Denial:
        return objection(other) or rights.to_evict(gang, other, now_s)

    units = Units(question.outlook.fleet, ask, reasons)
    gives_way = serves(gang)
    for other in question.candidates:
        if other.pods and other.gang.key != gang.key:
            level = YIELDING if gives_way and other.yields else other.gang.priority
            units.add(other, level, now_s)
    return units


def units_to_move(question: Question, candidates: Iterable[Bystander], reasons: Reasons) -> Units:
    """Which of these may be restarted elsewhere for a gang: whole gangs that are no larger than it."""
    gang, rights, now_s = question.gang, question.rights, question.now_s

    def ask(other: Bystander) -> Right | Denial:
        return objection(other) or fixture(gang, other) or rights.to_move(gang, other, now_s)

    units = Units(question.outlook.fleet, ask, reasons)
    most = len(gang.pods)
    for other in candidates:
        if 0 < len(other.pods) <= most and other.gang.key != gang.key:
            units.add(other, 0, now_s)
    return units
