"""One gang that wants room, and the proof that a set of victims makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.scheduling.eviction.budgets import Budgets
from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.cost import Rank
from fairlead.scheduling.eviction.draft import Draft
from fairlead.scheduling.eviction.needs import Need
from fairlead.scheduling.eviction.reasons import Reasons
from fairlead.scheduling.eviction.rights import Ledger, Rights
from fairlead.scheduling.eviction.steps import Steps
from fairlead.scheduling.eviction.units import Unit, Units
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Assignment, Placed

Afterwards = Callable[[Sequence[Unit]], tuple[Assignment, ...] | None]
"""What must be possible once the gang has its place; None where it is not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Victims, and where the gang goes without them: tried out on the fleet."""

    taken: tuple[tuple[Unit, tuple[PodView, ...]], ...]
    """Units, with the pods that go with each."""
    rank: Rank
    assignments: tuple[Assignment, ...]
    moves: tuple[Assignment, ...] = ()

    @property
    def units(self) -> tuple[Unit, ...]:
        return tuple(unit for unit, _ in self.taken)


@dataclass(frozen=True, slots=True)
class Question:
    """Who makes room for a gang: what is asked, and of whom."""

    outlook: Outlook
    gang: Gang
    need: Need
    candidates: Sequence[Bystander]
    rights: Rights
    budgets: Budgets
    disrupted: Mapping[int, int]
    """Evictions of which the budgets do not know yet, by the number of the budget."""
    steps: Steps
    now_s: float


@dataclass(frozen=True, slots=True)
class Case:
    """One way to make room: who may be taken, and what must hold."""

    question: Question
    units: Units
    reasons: Reasons
    ledger: Callable[[], Ledger]
    binds: bool = True
    """Whether disruption budgets are honoured."""
    afterwards: Afterwards | None = None

    @property
    def outlook(self) -> Outlook:
        return self.question.outlook

    @property
    def need(self) -> Need:
        return self.question.need

    @property
    def steps(self) -> Steps:
        return self.question.steps

    def draft(self) -> Draft:
        """Nothing chosen yet."""
        tally = self.question.budgets.tally(self.question.disrupted, binds=self.binds)
        return Draft(self.outlook.fleet, self.units, self.ledger(), tally, self.reasons)

    def prove(self, units: Iterable[Unit]) -> Plan | None:
        """Evicts these and no others, places the gang, and undoes it all. None where that is not allowed, or the gang
        does not fit."""
        draft = self.draft()
        with draft.trial():
            if not all(draft.take(unit) for unit in units):
                return None
            verdict = place_gang(
                self.outlook, self.question.gang, Limits(budget=max(1, self.steps.left), explains=False)
            )
            if not isinstance(verdict, Placed):
                self.steps.spend(max(1, verdict.explanation.steps))
                return None
            self.steps.spend(max(1, verdict.steps))
            moves = () if self.afterwards is None else self.afterwards(draft.units)
            if moves is None:
                return None
            return Plan(draft.taken, draft.rank(), verdict.assignments, moves)
