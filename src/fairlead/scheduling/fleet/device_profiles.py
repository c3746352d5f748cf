"""Nodes that are alike for the same claims, and the answers that hold for all of them."""

from __future__ import annotations

from typing import Any, Final, Literal

from fairlead.scheduling.allocator import DEFAULT_BUDGET, Failed, Fault, NodePools, Plan
from fairlead.scheduling.allocator.allocate_best import Choice, choose_best, choose_first
from fairlead.scheduling.allocator.best import BEST_BUDGET
from fairlead.scheduling.allocator.held import Held, hold_more
from fairlead.scheduling.allocator.problem import Problem
from fairlead.scheduling.fleet.device_offers import Offer, Refusal, refusal_of

Mode = Literal["upstream", "best"]

_MOST_ANSWERS: Final = 16_384
"""Answers kept of one profile; the oldest goes first."""

_PATIENCE: Final = 8
"""Searches for the same claims that may use up their budget; later ones get a tenth of it."""


class Patience:
    """How much is left of the patience with claims whose searches are cut off, on whatever node: a fleet of nodes that
    are all different must not keep everybody else waiting."""

    def __init__(self, mode: Mode) -> None:
        self._full = BEST_BUDGET if mode == "best" else DEFAULT_BUDGET
        self._cut_off = 0

    @property
    def budget(self) -> int:
        return self._full if self._cut_off < _PATIENCE else self._full // 10

    def note(self) -> None:
        """A search was cut off."""
        self._cut_off += 1


class Profile:
    """Answers by what is held, for nodes whose devices are the same to some claims. `view` is that of one of them."""

    def __init__(self, plan: Plan, view: NodePools, problem: Problem, mode: Mode, patience: Patience) -> None:
        self._plan = plan
        self._view = view
        self._problem = problem
        self._mode = mode
        self._patience = patience
        self._answers: dict[Held, Offer | Refusal] = {}
        self._rooms: dict[Held, tuple[int, bool]] = {}

    def answer(self, held: Held) -> Offer | Refusal:
        """The devices where this is held, or why there are none."""
        found = self._answers.get(held)
        if found is None:
            found = self._answers[held] = self._search(held)
            trim(self._answers, _MOST_ANSWERS)
        return found

    def room(self, held: Held, limit: int) -> int:
        """How many times the claims fit together, one after the other, at most `limit`."""
        known, is_all = self._rooms.get(held, (0, False))
        if is_all or known >= limit:
            return min(known, limit)
        count, now = 0, held
        while count < limit:
            offer = self.answer(now)
            if isinstance(offer, Refusal):
                break
            count, now = count + 1, hold_more(self._plan, self._view, now, offer.given)
            if now == held:
                # They take nothing.
                count = limit
        self._rooms[held] = count, count < limit
        trim(self._rooms, _MOST_ANSWERS)
        return count

    def _search(self, held: Held) -> Offer | Refusal:
        is_best = self._mode == "best"
        choose = choose_best if is_best else choose_first
        choice = choose(self._plan, self._view, self._problem, held, budget=self._patience.budget)
        if isinstance(choice, Choice):
            if is_best and not choice.is_best:
                self._patience.note()
            return Offer(choice.given, choice.cost, choice.is_best, choice.steps)
        if isinstance(choice, Failed) and choice.fault is Fault.BUDGET:
            self._patience.note()
        # Upstream's scheduler gives up on the pod where a pool or a selector is in error on one node.
        return refusal_of(choice, concerns_all=not is_best)


def trim(remembered: dict[Any, Any], most: int) -> None:
    """Forgets the oldest where there are more."""
    while len(remembered) > most:
        del remembered[next(iter(remembered))]
