"""How far a search came with each request, and what spoke against the devices at its farthest point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead.scheduling.allocator.eligibility import Trial
from fairlead.scheduling.allocator.verdict import Obstacle, Reason


@dataclass(slots=True)
class Tally:
    """What spoke against the candidates for one device of a request, when the search first looked for it."""

    index: int
    against: dict[int, int] = field(default_factory=dict)
    detail: str = ""
    detail_of: int = -1

    def add(self, reason: int, detail: str) -> None:
        self.against[reason] = self.against.get(reason, 0) + 1
        if reason >= Reason.TAINT and reason >= self.detail_of:
            self.detail, self.detail_of = detail, reason


@dataclass(slots=True)
class _Course:
    """One alternative's way."""

    trial: Trial
    tally: Tally | None = None
    was_served: bool = False
    exceeds_limit: bool = False


class Progress:
    """The farthest point that the search reached with each alternative."""

    def __init__(self) -> None:
        self._courses: dict[int, _Course] = {}

    def tally(self, trial: Trial, index: int) -> Tally | None:
        """Where to count what speaks against the candidates; None where the search was as far as this before."""
        course = self._course(trial)
        if course.was_served or (course.tally is not None and course.tally.index >= index):
            return None
        course.tally = Tally(index)
        return course.tally

    def note_served(self, trial: Trial) -> None:
        self._course(trial).was_served = True

    def note_nothing(self, trial: Trial) -> None:
        course = self._course(trial)
        if course.tally is None:
            course.tally = Tally(0)
            for chosen in trial.chosen:
                course.tally.add(chosen - 1 if chosen < len(Reason) + 1 else Reason.CAPACITY, "")

    def note_limit(self, trial: Trial) -> None:
        self._course(trial).exceeds_limit = True

    def obstacles(self, trials: Iterable[Trial]) -> tuple[Obstacle, ...]:
        """The requests that the search never got through, in their order; all that it came to if it got through all."""
        courses = [self._courses[id(trial)] for trial in trials if id(trial) in self._courses]
        stuck = [course for course in courses if not course.was_served]
        return tuple(map(_obstacle, stuck))

    def _course(self, trial: Trial) -> _Course:
        course = self._courses.get(id(trial))
        if course is None:
            course = self._courses[id(trial)] = _Course(trial)
        return course


def _obstacle(course: _Course) -> Obstacle:
    alternative = course.trial.alternative
    tally = course.tally or Tally(0)
    return Obstacle(
        alternative.claim,
        alternative.name,
        course.trial.needed,
        tally.index,
        {Reason(reason): count for reason, count in sorted(tally.against.items())},
        tally.detail if tally.detail_of == max(tally.against, default=-1) else "",
        exceeds_limit=course.exceeds_limit,
    )
