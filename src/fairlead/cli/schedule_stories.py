"""Stories of one planner's gangs and claims."""

from __future__ import annotations

from fairlead.scheduling.explain.spared import spared_by
from fairlead.scheduling.explain.story import Teller
from fairlead.scheduling.planner import Planner


def storyteller_of(planner: Planner, now_s: float) -> Teller:
    """Tells what the planner's verdicts mean, with the rights of its queues."""
    turns = planner.turns
    return Teller(planner.outlook, planner.roster.gang_of, spared_by(turns.eviction_rights(), turns.queue_of, now_s))
