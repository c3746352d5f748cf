"""One search after the other for the same gang: with all preferred levels first, then with fewer, at last with none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.bounds import Bounds
from fairlead.scheduling.gangs.moves import Rules, Settle
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.rooms import survey_of
from fairlead.scheduling.gangs.trial import Budget, OutOfBudgetError, Place, Trial
from fairlead.scheduling.gangs.twins import Twins

Wish = tuple[int, str]
"""Number of a part, and a level that it prefers."""

_MOST_WISHES: Final = 6
"""Of more, each part gives up its own one by one; the whole is then good, but not known to be the best."""
_SHARE: Final = 0.15
"""What of the budget that is left an attempt to have one more wish granted may use."""


class Attempts:
    """The searches for one gang."""

    def __init__(self, outlook: Outlook, root: Part, limit: int) -> None:
        self.outlook = outlook
        self.root = root
        self.survey = survey_of(outlook)
        self.budget = Budget(limit)
        self.rules = Rules(Bounds(outlook, root), Twins(outlook, self.survey, root))

    def solve(self, place: Place) -> Trial | None:
        """The mandatory pods of the gang in a place, with as many preferred levels as can be had, the most important
        ones before all others. None, and nothing is changed, where they do not fit. Raises OutOfBudgetError."""
        wishes = tuple(_wishes(self.root))
        first = Settle(self.rules, self.root, place, self.root.need)
        if not self.root.need:
            return self.trial(frozenset())
        if self.root.need < self.root.size:
            # Everything wished for, and all pods: nothing could be better.
            whole = Settle(self.rules, self.root, place, self.root.size)
            found = self._run(whole, frozenset(wishes), self.budget, swift_only=True)
            if found is not None:
                return found
        if len(wishes) > _MOST_WISHES:
            return self._run(first, frozenset(wishes), self.budget, swift_only=True) or self._run(
                first, frozenset(), self.budget, is_yielding=True
            )
        granted: frozenset[Wish] = frozenset()
        for i, wish in enumerate(wishes):
            more = granted | {wish}
            every = more.union(wishes[i + 1 :])
            found = self._afford(first, every)
            if found is not None:
                return found
            if every != more and self._is_possible(first, more):
                granted = more
        return self._run(first, granted, self.budget)

    def trial(
        self,
        wishes: frozenset[Wish],
        budget: Budget | None = None,
        *,
        is_yielding: bool = False,
        is_thorough: bool = False,
    ) -> Trial:
        """A search that has not begun."""
        return Trial(self.outlook, self.survey, budget or self.budget, wishes, is_yielding, is_thorough)

    def _run(
        self,
        first: Settle,
        wishes: frozenset[Wish],
        budget: Budget,
        *,
        is_yielding: bool = False,
        swift_only: bool = False,
    ) -> Trial | None:
        swift = self.trial(wishes, budget, is_yielding=is_yielding)
        if swift.solve(first):
            return swift
        if swift_only:
            return None
        self.rules.twins.look()
        thorough = self.trial(wishes, budget, is_yielding=is_yielding, is_thorough=True)
        return thorough if thorough.solve(first) else None

    def _afford(self, first: Settle, wishes: frozenset[Wish]) -> Trial | None:
        """A search that may use a share of the budget. Cut off, it counts as one that found nothing."""
        budget = self.budget.share(_SHARE)
        try:
            return self._run(first, wishes, budget)
        except OutOfBudgetError:
            return None
        finally:
            self.budget.spend(min(budget.steps, budget.limit))

    def _is_possible(self, first: Settle, wishes: frozenset[Wish]) -> bool:
        with self.outlook.fleet.trial():
            return self._afford(first, wishes) is not None


def _wishes(part: Part) -> Iterator[Wish]:
    """Preferred levels of the parts that must be placed, the most important first."""
    for level in part.topology.preferred:
        if level not in part.topology.required:
            yield part.number, level
    for each in part.parts:
        if each.need:
            yield from _wishes(each)
