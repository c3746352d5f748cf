"""One search after the other for the same gang: with all preferred levels first, then with fewer, at last with none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.bounds import Bounds
from fairlead.scheduling.gangs.moves import Rules, Settle
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.prospects import Prospects
from fairlead.scheduling.gangs.rooms import survey_of
from fairlead.scheduling.gangs.totals import Totals
from fairlead.scheduling.gangs.trial import Budget, OutOfBudgetError, Place, Trial
from fairlead.scheduling.gangs.twins import Twins

Wish = tuple[int, str]
"""Number of a part, and a level that it prefers."""

_MOST_WISHES: Final = 6
"""Of more, each part gives up its own one by one; the whole is then good, but not known to be the best."""
_SWIFT_SHARE: Final = 0.2
"""What of its budget an attempt may use before it begins to move pods about one by one."""
_SWIFT_RETRIES: Final = 64
"""And no more alternatives than this: what it finds at all it finds soon."""
_SHARE: Final = 0.15
"""What of the budget that is left an attempt to have what is only wished for may use."""


class Attempts:
    """The searches for one gang."""

    def __init__(self, outlook: Outlook, root: Part, limit: int) -> None:
        self.outlook = outlook
        self.root = root
        self.survey = survey_of(outlook)
        # Putting all pods down once is no search.
        self.budget = Budget(limit + 10 * root.size)
        bounds, totals = Bounds(outlook, root), Totals(outlook, tuple(root.shapes))
        self.rules = Rules(bounds, Twins(outlook, self.survey, root), totals, Prospects(bounds, totals))
        self._wishes = tuple(_wishes(root))
        # What numbers do not find for pods of one shape that do not mind each other is not there, unless they were
        # wrong about a row.
        self._is_counted = not root.parts and len(root.shapes) == 1 and bounds.are_exact()
        self._strict = frozenset(number for number, _ in self._wishes)

    def solve(self, place: Place) -> Trial | None:
        """The mandatory pods of the gang (one, where none is) in a place, with as many preferred levels as can be had,
        the most important ones before all others. None, and nothing is changed, where they do not fit. Raises
        OutOfBudgetError."""
        wishes = self._wishes
        target = max(1, self.root.need)
        first = Settle(self.rules, self.root, place, target)
        if target < self.root.size:
            # Everything wished for, and all pods: nothing could be better.
            whole = Settle(self.rules, self.root, place, self.root.size)
            found = self._run(whole, self.budget, wishes, swift_only=True)
            if found is not None:
                return found
        if len(wishes) > _MOST_WISHES:
            return self._run(first, self.budget, wishes, swift_only=True) or self._run(first, self.budget)
        granted: tuple[Wish, ...] = ()
        for i, wish in enumerate(wishes):
            more = (*granted, wish)
            every = (*more, *wishes[i + 1 :])
            found = self._afford(first, every)
            if found is not None:
                return found
            if every != more and self._is_possible(first, more):
                granted = more
        return self._run(first, self.budget, granted, strict=self._strict)

    def solve_soon(self, place: Place) -> Trial | None:
        """`solve` with a share of the budget: None where that is not enough."""
        whole, self.budget = self.budget, self.budget.share(_SHARE)
        try:
            return self.solve(place)
        except OutOfBudgetError:
            return None
        finally:
            whole.steps += min(self.budget.steps, self.budget.limit)
            self.budget = whole

    def trial(
        self,
        wishes: Iterable[Wish] = (),
        budget: Budget | None = None,
        *,
        strict: frozenset[int] = frozenset(),
        is_thorough: bool = False,
    ) -> Trial:
        """A search that has not begun."""
        return Trial(self.outlook, self.survey, budget or self.budget, frozenset(wishes), strict, is_thorough)

    def _run(
        self,
        first: Settle,
        budget: Budget,
        wishes: Iterable[Wish] = (),
        *,
        strict: frozenset[int] = frozenset(),
        swift_only: bool = False,
    ) -> Trial | None:
        if self._is_counted:
            swift = self.trial(wishes, budget, strict=strict)
            if swift.solve(first):
                return swift
            if not swift.surprises:
                return None
        found = self._swift(first, budget, wishes, strict)
        if found is not None or swift_only:
            return found
        self.rules.look()
        thorough = self.trial(wishes, budget, strict=strict, is_thorough=True)
        return thorough if thorough.solve(first) else None

    def _swift(self, first: Settle, budget: Budget, wishes: Iterable[Wish], strict: frozenset[int]) -> Trial | None:
        """By the number alone, which finds what there is unless parts are in each other's way."""
        share = budget.share(_SWIFT_SHARE)
        swift = self.trial(wishes, share, strict=strict)
        swift.retries = _SWIFT_RETRIES
        try:
            return swift if swift.solve(first) else None
        except OutOfBudgetError:
            return None
        finally:
            budget.spend(min(share.steps, share.limit))

    def _afford(self, first: Settle, wishes: Iterable[Wish]) -> Trial | None:
        """A search that may use a share of the budget. Cut off, it counts as one that found nothing."""
        budget = self.budget.share(_SHARE)
        try:
            return self._run(first, budget, wishes, strict=self._strict)
        except OutOfBudgetError:
            return None
        finally:
            self.budget.spend(min(budget.steps, budget.limit))

    def _is_possible(self, first: Settle, wishes: Iterable[Wish]) -> bool:
        with self.outlook.fleet.trial():
            return self._afford(first, wishes) is not None


def _wishes(part: Part) -> Iterator[Wish]:
    """Preferred levels of the parts that must be placed, the most important first."""
    for level in part.topology.preferred:
        if level not in part.topology.required:
            yield part.number, level
    groups = [each for each in part.parts if not each.is_slice]
    if part.least_parts == len(groups):
        for each in groups:
            if each.need:
                yield from _wishes(each)
