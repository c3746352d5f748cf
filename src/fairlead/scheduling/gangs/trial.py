"""A search in progress: decisions on a stack, each with its alternatives, and the pods that it has put on rows.

An alternative that does not lead on is undone and the next one is tried. The stack is explicit, so that no gang is too
large for it, and what is still to be decided is a linked list, so that an alternative can add to it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.options import Mask, Options, Outlook
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.rooms import Survey
from fairlead.scheduling.snapshot import PodView, Shape

Ints = npt.NDArray[np.int64]


class OutOfBudgetError(Exception):
    """The search was cut off."""


class Budget:
    """Steps that may still be taken."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.steps = 0

    def spend(self, steps: int) -> None:
        """Raises OutOfBudgetError when it is used up."""
        self.steps += steps
        if self.steps > self.limit:
            raise OutOfBudgetError

    def share(self, part: float) -> Budget:
        """A budget for a part of what is left; what it uses is to be spent here."""
        return Budget(int((self.limit - self.steps) * part))


class Place:
    """Rows that pods may go to: all, or those of a domain."""

    def __init__(self, rows: Ints, key: Hashable) -> None:
        self.rows = rows
        """Ascending."""
        self.key = key
        """Equal for equal places of one search."""

    @cached_property
    def members(self) -> frozenset[int]:
        """The rows."""
        return frozenset(self.rows.tolist())

    def mask(self, size: int) -> Mask:
        mask = np.zeros(size, dtype=np.bool_)
        mask[self.rows] = True
        return mask


@dataclass(frozen=True, slots=True)
class Must:
    """Pods that have to go to a place, by shape; of a part that is to find a domain there, where one is named."""

    counts: Mapping[Shape, int]
    place: Place
    part: Part | None = None


class Decision(Protocol):
    """Something to be decided."""

    @property
    def key(self) -> Hashable:
        """Equal for decisions that have the same alternatives."""
        ...

    def must(self) -> Must:
        """The pods that it has to put somewhere, whichever alternative is taken."""
        ...

    def ways(self, trial: Trial, rest: Agenda | None) -> Iterator[tuple[Decision, ...]]:
        """Tries one alternative after the other: each is in the fleet when it is yielded, with what is to be decided
        because of it. The trial undoes it before the next."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Agenda:
    """What is still to be decided, in order."""

    decision: Decision
    rest: Agenda | None
    id: int
    """Equal for equal agendas of one search."""

    def __iter__(self) -> Iterator[Decision]:
        now: Agenda | None = self
        while now is not None:
            yield now.decision
            now = now.rest


@dataclass(slots=True)
class _Frame:
    ways: Iterator[tuple[Decision, ...]]
    rest: Agenda | None
    mark: int
    put: int
    settled: int
    situation: Hashable
    is_fresh: bool = True


@dataclass(slots=True)
class Trial:
    """One search over one fleet."""

    outlook: Outlook
    survey: Survey
    budget: Budget
    wishes: frozenset[tuple[int, str]] = frozenset()
    """Preferred levels that are required in this search: number of a part, and level."""
    strict: frozenset[int] = frozenset()
    """Numbers of the parts that have no other preferred levels than these. Other parts try to have all of theirs, and
    give them up one by one where they must."""
    is_thorough: bool = False
    """Whether pods are moved about one by one; else they are put down by the number."""
    retries: int | None = None
    """How many alternatives may yet be tried after others have failed; None for any number."""
    surprises: int = 0
    """How often a row had no devices for a pod that it was counted to have room for: nodes may share devices."""
    put: list[tuple[PodView, int]] = field(default_factory=list)
    """Pods that are placed, in order, with their rows."""
    on: dict[int, list[PodView]] = field(default_factory=dict)
    """The same by row."""
    settled: list[tuple[int, Place]] = field(default_factory=list)
    """Parts, by number, in the order in which they found their places, with these."""
    _agendas: dict[tuple[Hashable, int], int] = field(default_factory=dict)
    _dead: set[Hashable] = field(default_factory=set)
    _next: Agenda | None = None

    def place_of(self, number: int) -> Place | None:
        """Where a part is."""
        return next((place for each, place in reversed(self.settled) if each == number), None)

    def options(self, shape: Shape) -> Options:
        """Where a pod of the shape can go now."""
        return self.outlook.of(shape)

    def solve(self, *decisions: Decision) -> bool:
        """Whether all of it can be decided. If so, the fleet holds the outcome; if not, or when the budget is used up
        (OutOfBudgetError), the fleet is as it was."""
        frames: list[_Frame] = []
        agenda = self._prepend(decisions, None)
        try:
            while agenda is not None:
                self._enter(frames, agenda)
                if not self._advance(frames):
                    return False
                agenda = self._next
        except OutOfBudgetError:
            for frame in reversed(frames):
                self._undo(frame)
            raise
        for frame in reversed(frames):
            self.outlook.fleet.keep(frame.mark)
        return True

    def place(self, pod: PodView, row: int) -> bool:
        """Puts a pod on a row with the devices that it is offered there; whether there are any."""
        try:
            self.outlook.fleet.place(pod, row)
        except LookupError:
            self.surprises += 1
            return False
        self.note(pod, row)
        return True

    def note(self, pod: PodView, row: int) -> None:
        """A pod of the gang was put on a row of the fleet."""
        self.put.append((pod, row))
        self.on.setdefault(row, []).append(pod)

    def _forget(self, put: int) -> None:
        """Only the first `put` pods are placed."""
        while len(self.put) > put:
            _, row = self.put.pop()
            here = self.on[row]
            here.pop()
            if not here:
                del self.on[row]

    def attempt(self, action: Callable[[], bool]) -> bool:
        """Does what succeeds; undoes what does not."""
        fleet = self.outlook.fleet
        mark, put = fleet.mark(), len(self.put)
        if action():
            fleet.keep(mark)
            return True
        fleet.undo(mark)
        self._forget(put)
        return False

    def _enter(self, frames: list[_Frame], agenda: Agenda) -> None:
        situation = self._situation(agenda)
        ways = iter(()) if situation in self._dead else agenda.decision.ways(self, agenda.rest)
        mark = self.outlook.fleet.mark()
        frames.append(_Frame(ways, agenda.rest, mark, len(self.put), len(self.settled), situation))

    def _advance(self, frames: list[_Frame]) -> bool:
        """Takes the next alternative of the last decision that has one. False where none has."""
        fleet = self.outlook.fleet
        while frames:
            frame = frames[-1]
            if not frame.is_fresh:
                self._undo(frame)
                frame.mark = fleet.mark()
                self._retry()
            frame.is_fresh = False
            more = next(frame.ways, None)
            if more is not None:
                self._next = self._prepend(more, frame.rest)
                return True
            self._undo(frames.pop())
            if frame.situation is not None:
                self._dead.add(frame.situation)
        return False

    def _retry(self) -> None:
        if self.retries is not None:
            self.retries -= 1
            if self.retries < 0:
                raise OutOfBudgetError

    def _undo(self, frame: _Frame) -> None:
        self.outlook.fleet.undo(frame.mark)
        self._forget(frame.put)
        del self.settled[frame.settled :]

    def _prepend(self, decisions: tuple[Decision, ...], rest: Agenda | None) -> Agenda | None:
        for decision in reversed(decisions):
            number = self._agendas.setdefault((decision.key, rest.id if rest else -1), len(self._agendas))
            rest = Agenda(decision, rest, number)
        return rest

    def _situation(self, agenda: Agenda) -> Hashable:
        """All that the rest of the search depends on: what is to be decided, and which shapes are where. Which devices
        they have does not matter, as these are chosen anew where need be."""
        if not self.is_thorough:
            return None
        placed: dict[tuple[Shape, int], int] = {}
        for pod, row in self.put:
            key = (pod.shape, row)
            placed[key] = placed.get(key, 0) + 1
        return agenda.id, frozenset(placed.items())
