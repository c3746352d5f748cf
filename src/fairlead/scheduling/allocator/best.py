"""The cheapest devices for a plan on a node: branch and bound over all ways to serve it.

Costs are compared as `Cost` says: alternatives further down their lists first, then distances, then waste; among equals
the first in the order of Kubernetes' own search wins. All three parts only grow as devices are added, so that what is
given so far, and the least that the rest of a request adds to the distances, is a bound. A greedy attempt gives the
search something to compare with from the start. Of components that are alike and untouched only the first is opened
(whatever a solution does with the second it can do with the first); situations that led nowhere are remembered.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.allocator.held import Given, Held, bits
from fairlead.scheduling.allocator.problem import Problem, Trial
from fairlead.scheduling.allocator.requests import MAX_RESULTS
from fairlead.scheduling.allocator.trial_state import TrialState

BEST_BUDGET: Final = 30_000
"""Steps of one search, each a device looked at or tried: about a tenth of a second."""

_WARM_UP: Final = 1024
"""Steps before situations are remembered."""


@dataclass(frozen=True, slots=True)
class Best:
    """Devices for all claims."""

    given: tuple[Given, ...]
    cost: Cost
    is_proven: bool
    """Whether nothing cheaper exists; else the budget was used up."""
    steps: int


@dataclass(frozen=True, slots=True)
class NoneFound:
    """No devices."""

    is_proven: bool
    """Whether there are none; else the budget was used up."""
    steps: int


@dataclass(slots=True)
class _ChoiceFrame:
    """The alternatives of a prioritized request."""

    ask: int
    current: int = -1
    reached: bool = False


@dataclass(slots=True)
class _DeviceFrame:
    """The candidates for one device of one request."""

    ask: int
    trial: Trial
    index: int
    needed: int
    candidates: list[int]
    at: int = 0
    has_taken: bool = False
    reached: bool = False
    """Whether there was a solution below, or ways that were left out for their cost."""
    situation: Hashable = None


@dataclass(slots=True)
class _Record:
    """The best so far."""

    given: tuple[Given, ...] = ()
    cost: Cost | None = None
    is_guess: bool = False
    """Whether it is the greedy attempt's: then an equal one that comes first in order is better."""
    dead_ends: set[Hashable] = field(default_factory=set)


def find_best(problem: Problem, held: Held, *, budget: int = BEST_BUDGET) -> Best | NoneFound:
    """The cheapest devices where this is held already."""
    return _Search(problem, held, budget).run()


def cost_of(problem: Problem, held: Held, given: Iterable[Given]) -> Cost:
    """What devices cost that were chosen by whatever means. They must be free."""
    state = TrialState(problem, held)
    prioritized: dict[tuple[int, int], int] = {}
    for claim, request, choice, position in given:
        ask = next(each for each in problem.asks if (each.claim, each.trials[0].request) == (claim, request))
        state.take(ask.trials[choice], position)
        if ask.is_prioritized:
            prioritized[claim, request] = choice
    state.ranks = sum(prioritized.values())
    return state.cost


class _Search:
    """One search, on an explicit stack: no claim is too deep."""

    def __init__(self, problem: Problem, held: Held, budget: int) -> None:
        self._asks = problem.asks
        self._problem = problem
        self._state = TrialState(problem, held)
        self._budget = budget
        self._best = _Record()
        self._stack: list[_ChoiceFrame | _DeviceFrame] = []
        self._steps = 0
        self._closest = self._least_distances()
        self._all: dict[int, list[int]] = {}  # by trial: what a request for all devices must have
        for ask in problem.asks:
            for trial in ask.trials:
                if trial.alternative.takes_all:
                    chosen = bits(trial.chosen)
                    self._all[id(trial)] = [p for p in chosen if self._state.has_room(trial, p)]

    def run(self) -> Best | NoneFound:
        self._guess()
        self._begin(0)
        while self._stack and self._steps <= self._budget:
            frame = self._stack[-1]
            if isinstance(frame, _ChoiceFrame):
                self._next_choice(frame)
            else:
                self._next_device(frame)
        is_proven = not self._stack
        cost = self._best.cost
        if cost is None:
            return NoneFound(is_proven, self._steps)
        return Best(self._best.given, cost, is_proven, self._steps)

    def _begin(self, ask: int) -> None:
        """Goes on to a request; past the last one, a solution is found."""
        if ask == len(self._asks):
            self._reach()
            if not self._is_too_dear(0):
                self._best.cost, self._best.given = self._state.cost, self._state.picks()
                self._best.is_guess = False
        elif self._asks[ask].is_prioritized:
            self._stack.append(_ChoiceFrame(ask))
        else:
            self._start(ask, self._asks[ask].trials[0])

    def _start(self, ask: int, trial: Trial) -> None:
        needed = self._needed(trial)
        if needed is not None:
            self._enter(ask, trial, 0, needed, 0)

    def _needed(self, trial: Trial) -> int | None:
        """How many devices the trial needs now; None where it cannot be served."""
        needed = len(self._everything(trial)) if trial.alternative.takes_all else trial.alternative.count
        if trial.alternative.takes_all and (not needed or not self._problem.knows_all):
            return None
        if len(self._state.given[trial.claim]) + needed > MAX_RESULTS:
            return None
        return needed

    def _enter(self, ask: int, trial: Trial, index: int, needed: int, start: int) -> None:
        """Goes on to one device of a request."""
        if index == needed:
            self._begin(ask + 1)
            return
        situation: Hashable = None
        if self._steps > _WARM_UP:
            situation = (ask, trial.choice, index, start, self._state.fingerprint(trial.claim))
            if situation in self._best.dead_ends:
                return
        candidates = self._candidates(trial, index, needed, start)
        if not candidates:
            return
        if self._is_too_dear(self._least_link(trial, candidates, needed - index)):
            self._reach()
            return
        if not trial.alternative.takes_all:
            candidates = [position for position in candidates if not self._state.is_redundant(trial, position)]
        self._stack.append(_DeviceFrame(ask, trial, index, needed, candidates, situation=situation))

    def _next_choice(self, frame: _ChoiceFrame) -> None:
        if frame.current >= 0:
            self._state.ranks -= frame.current
        frame.current += 1
        trials = self._asks[frame.ask].trials
        if frame.current == len(trials):
            self._stack.pop()
            self._hand_on(frame.reached)
            return
        self._state.ranks += frame.current
        if self._is_too_dear(0):
            frame.reached = True
            return
        self._start(frame.ask, trials[frame.current])

    def _next_device(self, frame: _DeviceFrame) -> None:
        state = self._state
        if frame.has_taken:
            state.take_back()
            frame.has_taken = False
        while frame.at < len(frame.candidates):
            position = frame.candidates[frame.at]
            frame.at += 1
            self._steps += 1
            if self._is_too_dear(state.add_link(frame.trial.claim, position)):
                frame.reached = True
                continue
            if not state.take(frame.trial, position):
                continue
            if self._is_too_dear(0):
                frame.reached = True
                state.take_back()
                continue
            frame.has_taken = True
            self._enter(frame.ask, frame.trial, frame.index + 1, frame.needed, position + 1)
            return
        self._stack.pop()
        if not frame.reached and frame.situation is not None:
            self._best.dead_ends.add(frame.situation)
        self._hand_on(frame.reached)

    def _hand_on(self, reached: bool) -> None:
        if reached:
            self._reach()

    def _reach(self) -> None:
        """The way that the search is on is no dead end."""
        if self._stack:
            self._stack[-1].reached = True

    def _candidates(self, trial: Trial, index: int, needed: int, start: int) -> list[int]:
        """The devices that could be next, in order; none where there are too few for all that are still needed."""
        state = self._state
        if trial.alternative.takes_all:
            position = self._everything(trial)[index]
            is_open = state.open_to(trial) >> position & 1 and state.has_room(trial, position)
            return [position] if is_open else []
        found = list(bits(state.open_to(trial) >> start << start))
        self._steps += len(found)
        if trial.shares:
            found = [position for position in found if state.has_room(trial, position)]
        if trial.constraints and len(found) >= needed - index:
            found = [position for position in found if state.constrain(trial, position)]
        return found if len(found) >= needed - index else []

    def _everything(self, trial: Trial) -> list[int]:
        """What a request for all devices must have: all that it chooses, shared ones if enough was left of them."""
        return self._all[id(trial)]

    def _least_link(self, trial: Trial, candidates: list[int], missing: int) -> int:
        """The least that the devices still missing add to the distances."""
        least = self._closest[trial.claim]
        pairs = missing * (missing - 1) // 2 * least
        if not trial.has_company or not self._state.given[trial.claim]:
            return pairs
        if trial.alternative.takes_all:
            return pairs + self._state.add_link(trial.claim, candidates[0])
        added = sorted([self._state.add_link(trial.claim, position) for position in candidates])
        return pairs + sum(added[:missing])

    def _least_distances(self) -> list[int]:
        """By claim: the least distance of two devices that it could have."""
        least: list[int] = []
        for claim in range(len(self._problem.constraints)):
            trials = [trial for ask in self._asks if ask.claim == claim for trial in ask.trials]
            mask = 0
            for trial in trials:
                mask |= trial.eligible
            has_company = any(trial.has_company for trial in trials)
            least.append(self._problem.layout.closest(mask) if has_company else 0)
        return least

    def _is_too_dear(self, more_link: int) -> bool:
        best = self._best.cost
        if best is None:
            return False
        state = self._state
        now = (state.ranks, state.link + more_link, state.waste)
        return now > best if self._best.is_guess else now >= best

    def _guess(self) -> None:
        """A greedy attempt, without going back: for each device the one that costs least now."""
        state = self._state
        if all([self._guess_request(ask) for ask in range(len(self._asks))]):
            self._best.cost, self._best.given = state.cost, state.picks()
            self._best.is_guess = True
        while state.steps:
            state.take_back()
        state.ranks = 0

    def _guess_request(self, ask: int) -> bool:
        state = self._state
        for trial in self._asks[ask].trials:
            before = len(state.steps)
            if self._guess_trial(trial):
                state.ranks += trial.choice
                return True
            while len(state.steps) > before:
                state.take_back()
        return False

    def _guess_trial(self, trial: Trial) -> bool:
        needed = self._needed(trial)
        if needed is None:
            return False
        taken: set[int] = set()
        takes_all = trial.alternative.takes_all
        for index in range(needed):
            options = [
                position
                for position in self._candidates(trial, index, needed, 0)
                if position not in taken and (takes_all or not self._state.is_redundant(trial, position))
            ]
            cheapest = min(options, key=lambda position: self._price(trial, position), default=None)
            if cheapest is None or not self._state.take(trial, cheapest):
                return False
            taken.add(cheapest)
        return True

    def _price(self, trial: Trial, position: int) -> tuple[int, int, int]:
        state = self._state
        self._steps += 1
        if not state.take(trial, position):
            return (1 << 62, 0, position)
        price = state.link, state.waste, position
        state.take_back()
        return price
