"""Trying gangs out on a fleet that is as before afterwards, as often as a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.verdict import Placed, Refused

MOST_TRIALS: Final = 24
STEPS_OF_ALL: Final = 1_000_000
STEPS_OF_ONE: Final = 100_000

Place = Callable[[Outlook, Gang, Limits], Placed | Refused]


@dataclass(slots=True)
class Trials:
    """A number of trials, and the steps of their searches together."""

    outlook: Outlook
    most: int = MOST_TRIALS
    steps: int = STEPS_OF_ALL
    place: Place = field(default=place_gang)
    made: int = 0
    is_cut: bool = False
    """Whether something was left untried."""

    def place_without(self, gang: Gang, leaving: Iterable[str] = ()) -> Placed | None:
        """Where the gang would go once the pods that are `leaving` (uids) are gone with their devices; None where it
        would go nowhere, or the budget is used up."""
        if self.made >= self.most or self.steps <= 0:
            self.is_cut = True
            return None
        self.made += 1
        fleet = self.outlook.fleet
        with fleet.trial():
            for uid in leaving:
                fleet.lift(uid, frees_claims=True)
            verdict = self.place(self.outlook, gang, Limits(min(STEPS_OF_ONE, self.steps), explains=False))
        self.steps -= max(1, verdict.steps if isinstance(verdict, Placed) else verdict.explanation.steps)
        return verdict if isinstance(verdict, Placed) else None
