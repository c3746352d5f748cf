"""Nodes that are alike for the same claims, and the answers that hold for all of them."""

from __future__ import annotations

from typing import Any, Final, Literal

from fairlead.scheduling.allocator import NodePools, Plan
from fairlead.scheduling.allocator.allocate import Found, find_first
from fairlead.scheduling.allocator.cost import FREE_OF_CHARGE
from fairlead.scheduling.allocator.held import Given, Held, hold_more, in_use_of
from fairlead.scheduling.allocator.state import Grant
from fairlead.scheduling.fleet.device_offers import Offer, Refusal, refusal_of

Mode = Literal["upstream", "best"]

_MOST_ANSWERS: Final = 4096
"""Answers kept of one profile; the one that was not asked for longest goes first."""


class Profile:
    """Answers by what is held, for nodes whose devices are the same to some claims. `view` is that of one of them."""

    def __init__(self, plan: Plan, view: NodePools, mode: Mode) -> None:
        self._plan = plan
        self._view = view
        self._mode = mode
        self._answers: dict[Held, Offer | Refusal] = {}
        self._rooms: dict[Held, tuple[int, bool]] = {}

    def answer(self, held: Held) -> Offer | Refusal:
        """The devices where this is held, or why there are none."""
        found = self._answers.get(held)
        if found is None:
            found = self._answers[held] = self._search(held)
            _trim(self._answers)
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
        _trim(self._rooms)
        return count

    def _search(self, held: Held) -> Offer | Refusal:
        found = find_first(self._plan, self._view, in_use_of(self._view, held))
        if not isinstance(found, Found):
            return refusal_of(found)
        return Offer(given_by(self._plan, found), FREE_OF_CHARGE, is_best=False, steps=found.steps)


def given_by(plan: Plan, found: Found) -> tuple[Given, ...]:
    """A first-fit search's answer by place."""
    return tuple(
        Given(claim, *_place(plan, claim, grant), grant.position)
        for claim, grants in enumerate(found.grants)
        for grant in grants
    )


def _place(plan: Plan, claim: int, grant: Grant) -> tuple[int, int]:
    for i, request in enumerate(plan.claims[claim].requests):
        for k, alternative in enumerate(request.alternatives):
            if alternative is grant.alternative:
                return i, k
    raise LookupError(f"claim {plan.claims[claim].key} has no request {grant.alternative.name}")


def _trim(remembered: dict[Held, Any]) -> None:
    """Forgets the oldest."""
    if len(remembered) > _MOST_ANSWERS:
        del remembered[next(iter(remembered))]
