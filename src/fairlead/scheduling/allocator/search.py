"""The search for devices: depth first over claims, requests, alternatives and devices; the first way through wins.

The order is upstream's, so that the answer is: devices of one request in combinations (a later device of the same
request stands behind the earlier one), across requests in all orders. Frames lie on an explicit stack, so that no claim
is too deep. After a while, ways that cannot lead on are left out (`shortcuts`), and at the end of a budget of steps the
search stops and says so.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from fairlead.scheduling.allocator.constraints import State
from fairlead.scheduling.allocator.eligibility import Eligibility, Trial
from fairlead.scheduling.allocator.errors import AllocationError, Fault
from fairlead.scheduling.allocator.in_use import InUse
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.progress import Progress, Tally
from fairlead.scheduling.allocator.requests import MAX_RESULTS, Plan
from fairlead.scheduling.allocator.shortcuts import DeadEnds, Twins, find_hopeless

_WARM_UP: Final = 256
"""Steps before shortcuts are looked for."""


class Outcome(enum.Enum):
    """How a way ended."""

    DONE = "done"
    FAILED = "failed"
    EXCEEDED = "more results than a claim can hold"


@dataclass(slots=True)
class _ClaimFrame:
    """Stands between a claim and the next: the next one's limit is no reason to give up on this one."""


@dataclass(slots=True)
class _ChoiceFrame:
    """The alternatives of a prioritized request."""

    claim: int
    request: int
    alternatives: int
    current: int = 0
    all_exceeded: bool = True


@dataclass(slots=True)
class _DeviceFrame:
    """The candidates for one device of one request."""

    trial: Trial
    index: int
    """Which of the request's devices."""
    next: int
    """The candidate to try next."""
    granted: int = -1
    tally: Tally | None = None
    situation: Hashable = None
    failed: set[Hashable] | None = None
    """What the candidates that did not lead on were like."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A point of the search: one device of one request."""

    claim: int
    request: int = 0
    subrequest: int = -1
    """-1 before an alternative is chosen."""
    index: int = 0
    start: int = 0


class Search:
    """One search. `run` once; then `state.grants` holds the result and `progress` what stood in the way."""

    def __init__(
        self,
        plan: Plan,
        view: NodePools,
        in_use: InUse,
        trials: list[list[list[Trial]]],
        eligibility: Eligibility,
        budget: int,
    ) -> None:
        self._plan = plan
        self._trials = trials
        self._eligibility = eligibility
        self._state = eligibility.state
        self._budget = budget
        self._count = len(view.candidates)
        self._stack: list[_ClaimFrame | _ChoiceFrame | _DeviceFrame] = []
        self._dead_ends = DeadEnds()
        flat = [trial for claim in trials for request in claim for trial in request]
        self._twins = Twins(plan, view, in_use, flat, eligibility)
        self.progress = Progress()
        self.steps = 0

    def run(self) -> bool:
        """Whether all claims fit. Raises AllocationError for a broken selector, or when the budget is used up."""
        outcome = self._descend(_Place(0))
        is_hopeless: bool | None = None
        while self._stack:
            if outcome is Outcome.DONE:
                return True
            if self.steps > _WARM_UP and is_hopeless is None:
                is_hopeless = find_hopeless(self._trials, self._eligibility, self._count)
                if is_hopeless:
                    return False
            outcome = self._resume(outcome)
        return outcome is Outcome.DONE

    def chosen_alternatives(self) -> dict[tuple[int, int], int]:
        """Which alternative each prioritized request got, by claim and request."""
        return {(frame.claim, frame.request): frame.current for frame in self._stack if isinstance(frame, _ChoiceFrame)}

    def _resume(self, outcome: Outcome | None) -> Outcome | None:
        """Hands the outcome of a way to the frame it started from. None while that frame has more to try."""
        frame = self._stack[-1]
        if isinstance(frame, _DeviceFrame):
            return self._resume_device(frame, outcome)
        if isinstance(frame, _ChoiceFrame):
            return self._resume_choice(frame, outcome)
        self._stack.pop()
        return Outcome.FAILED

    def _resume_choice(self, frame: _ChoiceFrame, outcome: Outcome | None) -> Outcome | None:
        frame.all_exceeded = frame.all_exceeded and outcome is Outcome.EXCEEDED
        frame.current += 1
        if frame.current < frame.alternatives:
            return self._descend(_Place(frame.claim, frame.request, frame.current))
        self._stack.pop()
        return Outcome.EXCEEDED if frame.all_exceeded else Outcome.FAILED

    def _resume_device(self, frame: _DeviceFrame, outcome: Outcome | None) -> Outcome | None:
        if frame.granted >= 0:
            position, frame.granted = frame.granted, -1
            self._eligibility.take_back(frame.trial, position)
            if outcome is Outcome.EXCEEDED:
                return self._leave(frame, Outcome.EXCEEDED)
            if frame.failed is not None or self._learns(frame.trial):
                frame.failed = frame.failed or set()
                frame.failed.add(self._twins.likeness(position))
        if frame.trial.alternative.takes_all:
            return self._try_all(frame)
        return self._try_next(frame)

    def _try_all(self, frame: _DeviceFrame) -> Outcome | None:
        """A request for all devices has no choice: the next one, or nothing."""
        if frame.next:
            return self._leave(frame, Outcome.FAILED)
        frame.next = 1
        self._step()
        position = frame.trial.everything[frame.index]
        reason = self._eligibility.grant(frame.trial, position, must=True)
        if reason is not None:
            self._note(frame, reason)
            return self._leave(frame, Outcome.FAILED)
        return self._go_on(frame, position, 0)

    def _try_next(self, frame: _DeviceFrame) -> Outcome | None:
        """Gives the next candidate that will do to the request and goes on from there."""
        eligibility, trial = self._eligibility, frame.trial
        for position in range(frame.next, self._count):
            self._step()
            reason = eligibility.refusal(trial, position)
            if reason is None:
                if frame.failed and self._twins.likeness(position) in frame.failed:
                    continue
                reason = eligibility.grant(trial, position)
            if reason is not None:
                self._note(frame, reason)
                continue
            frame.next = position + 1
            return self._go_on(frame, position, position + 1)
        return self._leave(frame, Outcome.FAILED)

    def _go_on(self, frame: _DeviceFrame, position: int, start: int) -> Outcome | None:
        frame.granted = position
        trial = frame.trial
        return self._descend(_Place(trial.claim, trial.request, trial.subrequest, frame.index + 1, start))

    def _leave(self, frame: _DeviceFrame, outcome: Outcome) -> Outcome:
        self._stack.pop()
        if frame.situation is not None:
            states = self._state.constraints[frame.trial.claim]
            self._dead_ends.remember(frame.situation, outcome is Outcome.EXCEEDED, states)
        return outcome

    def _descend(self, place: _Place) -> Outcome | None:
        """Goes on to the next device that has to be found, and to its first candidate."""
        while True:
            self._step()
            if place.claim >= len(self._trials):
                return Outcome.DONE
            requests = self._trials[place.claim]
            if place.request >= len(requests):
                self._stack.append(_ClaimFrame())
                place = _Place(place.claim + 1)
                continue
            if place.subrequest < 0:
                if self._plan.claims[place.claim].requests[place.request].is_prioritized:
                    self._stack.append(_ChoiceFrame(place.claim, place.request, len(requests[place.request])))
                place = _Place(place.claim, place.request, 0)
                continue
            trial = requests[place.request][place.subrequest]
            if trial.alternative.takes_all and not trial.everything:
                self.progress.note_nothing(trial)
                return Outcome.FAILED
            if place.index < trial.needed:
                return self._enter(trial, place)
            self.progress.note_served(trial)
            place = _Place(place.claim, place.request + 1)

    def _enter(self, trial: Trial, place: _Place) -> Outcome | None:
        """Starts on one device of a request: a new frame, or the outcome where it is known."""
        if len(self._state.grants[place.claim]) + trial.needed - place.index > MAX_RESULTS:
            self.progress.note_limit(trial)
            return Outcome.EXCEEDED
        frame = _DeviceFrame(trial, place.index, 0 if trial.alternative.takes_all else place.start)
        frame.tally = self.progress.tally(trial, place.index)
        if self.steps > _WARM_UP:
            shortcut = self._shortcut(frame, place)
            if shortcut is not None:
                return shortcut
        self._stack.append(frame)
        return None

    def _shortcut(self, frame: _DeviceFrame, place: _Place) -> Outcome | None:
        """The outcome where it is known without trying; else prepares the frame to learn from its failures."""
        states: list[State] = self._state.constraints[place.claim]
        frame.situation = (place, self._state.fingerprint(place.claim))
        known = self._dead_ends.find(frame.situation)
        if known is not None:
            exceeded, after = known
            states[:] = after
            return Outcome.EXCEEDED if exceeded else Outcome.FAILED
        if not self._learns(frame.trial):
            return None
        frame.failed = set()
        missing = frame.trial.needed - place.index
        # The first look at a request is taken in full, so that it can be told what stands in its way.
        if missing > 1 and frame.tally is None and not self._has_open(frame.trial, place.start, missing):
            return Outcome.FAILED
        return None

    def _learns(self, trial: Trial) -> bool:
        """Whether devices like one that did not lead on need not be tried."""
        return self.steps > _WARM_UP and not trial.alternative.takes_all and self._twins.apply()

    def _has_open(self, trial: Trial, start: int, missing: int) -> bool:
        """Whether so many devices from `start` on could be given to the request. Asks all, so that errors are met."""
        return sum([self._eligibility.is_open(trial, position) for position in range(start, self._count)]) >= missing

    def _note(self, frame: _DeviceFrame, reason: int) -> None:
        if frame.tally is not None:
            frame.tally.add(reason, self._eligibility.detail)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self._budget:
            raise AllocationError(
                Fault.BUDGET,
                f"the search for devices was stopped after {self._budget} steps without an answer: name fewer devices "
                "in a claim, or narrow them down with selectors",
                on_this_node=True,
            )
