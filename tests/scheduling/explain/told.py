"""Stories of small clusters."""

from __future__ import annotations

from fairlead.scheduling.explain.spared import spared_by
from fairlead.scheduling.explain.story import Story, Teller
from fairlead.scheduling.explain.trials import Trials
from fairlead.scheduling.planner import Planner
from scheduling.planner_objects import NOW_S

RACK = "fabric.topograph.run/tier-0"


def teller_of(planner: Planner, now_s: float = NOW_S) -> Teller:
    turns = planner.turns
    return Teller(planner.outlook, planner.roster.gang_of, spared_by(turns.eviction_rights(), turns.queue_of, now_s))


def story_of(planner: Planner, name: str, *, now_s: float = NOW_S, trials: Trials | None = None) -> Story:
    """The story of the gang of a name in the default namespace."""
    (gang,) = planner.find("default", name)
    teller = teller_of(planner, now_s)
    if not gang.pods:
        return teller.tell_standing(gang)
    return teller.tell(planner.verdict_of(gang, now_s), trials)
