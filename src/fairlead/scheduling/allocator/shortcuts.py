"""Ways that a search need not go because they are known not to lead on. None of them changes the answer.

Used when a search has gone on for a while: most are over before any of this pays.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from fairlead.scheduling.allocator.constraints import State
from fairlead.scheduling.allocator.eligibility import Eligibility, Trial
from fairlead.scheduling.allocator.errors import AllocationError
from fairlead.scheduling.allocator.in_use import InUse
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.requests import Plan

_MOST_REMEMBERED: Final = 100_000


def find_hopeless(trials: list[list[list[Trial]]], eligibility: Eligibility, candidates: int) -> bool:
    """Whether some request has too few devices for it even if it got all that are free.

    Not known, thus False, where looking further could have ended in an error instead.
    """
    flat = [trial for claim in trials for request in claim for trial in request]
    if any(trial.alternative.takes_all for trial in flat):
        return False
    try:
        enough = {id(trial): _has_enough(trial, eligibility, candidates) for trial in flat}
    except AllocationError:
        return False
    return any(not any(enough[id(trial)] for trial in request) for claim in trials for request in claim)


def _has_enough(trial: Trial, eligibility: Eligibility, candidates: int) -> bool:
    return sum([eligibility.is_for(trial, position) for position in range(candidates)]) >= trial.needed


class DeadEnds:
    """Situations from which the search came back empty-handed.

    Coming back can leave upstream's constraints changed; that is remembered too.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[bool, list[State]]] = {}

    def find(self, situation: Hashable) -> tuple[bool, list[State]] | None:
        """Whether the limit on results was the cause, and the claim's constraint states afterwards."""
        return self._known.get(situation)

    def remember(self, situation: Hashable, exceeded: bool, states: list[State]) -> None:
        if len(self._known) < _MOST_REMEMBERED:
            self._known[situation] = (exceeded, list(states))


class Twins:
    """Devices that are alike for every request of the plan: where one does not lead on, the other does not either.

    Not used where upstream's constraints depend on the order in which devices were tried.
    """

    def __init__(
        self, plan: Plan, view: NodePools, in_use: InUse, trials: list[Trial], eligibility: Eligibility
    ) -> None:
        self._plan = plan
        self._view = view
        self._in_use = in_use
        self._trials = trials
        self._eligibility = eligibility
        self._signatures: dict[int, Hashable] = {}
        self._numbers: dict[Hashable, int] = {}
        self._apply: bool | None = None

    def apply(self) -> bool:
        if self._apply is None:
            self._apply = self._plan.exact or not self._order_matters()
        return self._apply

    def likeness(self, position: int) -> Hashable:
        """A value that two devices share exactly where they are alike, now."""
        signature = self._signatures.get(position)
        if signature is None:
            signature = self._signatures[position] = self._number(position)
        state = self._eligibility.state
        amounts = state.capacity.get(position)
        return (
            signature,
            state.holders.get(position),
            state.watchers.get(position),
            state.shares.get(position),
            tuple(amounts.items()) if amounts else (),
        )

    def _number(self, position: int) -> int:
        """The same small number for equal signatures."""
        return self._numbers.setdefault(self._signature(position), len(self._numbers))

    def _signature(self, position: int) -> Hashable:
        candidate = self._view.candidates[position]
        device = candidate.device
        try:
            wanted = tuple(
                self._eligibility.is_chosen(trial, position) and not self._eligibility.is_tainted(trial, device)
                for trial in self._trials
            )
        except AllocationError:
            return ("unlike any other", position)
        used = self._in_use.capacity.get(device.id)
        return (
            wanted,
            tuple(device.attribute(name, lists=lists) for name, lists in self._attributes()),
            self._view.pool_of[position] if candidate.consumes else None,
            candidate.consumes,
            bool(device.spec.consumes_counters),
            device.is_shared,
            device.capacities,
            self._eligibility.held[position],
            self._in_use.is_partly_held(device.id),
            tuple(sorted(used.items())) if used else (),
        )

    def _attributes(self) -> list[tuple[str, bool]]:
        names = {(each.attribute, each.lists) for claim in self._plan.claims for each in claim.constraints}
        return sorted(names)

    def _order_matters(self) -> bool:
        if any(each.kind != "matchAttribute" for claim in self._plan.claims for each in claim.constraints):
            return True
        for name, lists in self._attributes():
            for candidate in self._view.candidates:
                value = candidate.device.attribute(name, lists=lists)
                if value is not None and len(value[1]) > 1:
                    return True
        return False
