"""The whole story of a verdict: the search's own words, the nearest miss looked at closely, what would help, and for
what has a place, the place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from fairlead.scheduling.explain.missing import more_devices
from fairlead.scheduling.explain.nearest import NearestMiss, fleet_wide, nearest_miss
from fairlead.scheduling.explain.neighbours import GangOf, Holder, Spared
from fairlead.scheduling.explain.remedies import Remedy, find_remedies
from fairlead.scheduling.explain.standing import Place, assigned_places, standing_place
from fairlead.scheduling.explain.trials import Trials
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import Because, Cleared, Explanation, Placed, Refused, Verdict

_LACKS_DEVICES: Final = (Because.DEVICES, Because.ROOM, Because.TOPOLOGY)

Outcome = Literal["bound", "fits", "clears", "refused"]


@dataclass(frozen=True, slots=True)
class Story:
    """What there is to say of one gang."""

    gang: Gang
    outcome: Outcome
    places: tuple[Place, ...] = ()
    """Where its pods are, or would go."""
    verdict: Verdict | None = None
    """None for a gang all of whose pods have their nodes."""
    nearest: NearestMiss | None = None
    holders: tuple[Holder, ...] = ()
    """Who holds what it lacks: in the nearest domain, else anywhere."""
    remedies: tuple[Remedy, ...] = ()
    is_cut: bool = False
    """Whether some remedies were left untried."""

    @property
    def explanation(self) -> Explanation | None:
        """Why it has no place; with who holds the rest of the nearest domain, and the first remedy."""
        if not isinstance(self.verdict, Refused):
            return None
        found = self.verdict.explanation
        if self.nearest is not None:
            found = replace(found, domains=(self.nearest.filled, *found.domains[1:]))
        if self.remedies and not found.remedy:
            found = replace(found, remedy=str(self.remedies[0]))
        return found


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells stories about one fleet."""

    outlook: Outlook
    gang_of: GangOf
    spared_for: Callable[[Gang], Spared] = lambda _: lambda _: ""
    """For the gang whose story is told: why another may not be made to leave for it; "" where it may."""

    def tell(self, verdict: Verdict, trials: Trials | None = None) -> Story:
        """The story of a decision. `trials` bounds the search for remedies."""
        if isinstance(verdict, Placed):
            return self._placed(verdict)
        if isinstance(verdict, Cleared):
            return Story(verdict.gang, "clears", self._standing(verdict.gang), verdict)
        return self._refused(verdict, trials or Trials(self.outlook))

    def tell_standing(self, gang: Gang) -> Story:
        """The story of a gang that has its nodes."""
        return Story(gang, "bound", self._standing(gang))

    def _placed(self, verdict: Placed) -> Story:
        would_go = assigned_places(self.outlook, verdict.assignments)
        return Story(verdict.gang, "fits", (*self._standing(verdict.gang), *would_go), verdict)

    def _refused(self, verdict: Refused, trials: Trials) -> Story:
        fleet, gang, explanation = self.outlook.fleet, verdict.gang, verdict.explanation
        if explanation.because is Because.GATE:
            return Story(gang, "refused", self._standing(gang), verdict)
        spared = self.spared_for(gang)
        nearest = nearest_miss(fleet, gang, explanation, self.gang_of, spared)
        near = nearest.holders if nearest is not None else fleet_wide(fleet, gang, self.gang_of, spared)
        near = tuple(each for each in near if each.gang != gang.key)
        remedies = find_remedies(trials, gang, explanation, near)
        if explanation.because in _LACKS_DEVICES:
            remedies = (*remedies, *more_devices(fleet, gang, nearest))
        return Story(gang, "refused", self._standing(gang), verdict, nearest, near, remedies, trials.is_cut)

    def _standing(self, gang: Gang) -> tuple[Place, ...]:
        found = (standing_place(self.outlook.fleet, pod) for pod in gang.bound)
        return tuple(place for place in found if place is not None)
