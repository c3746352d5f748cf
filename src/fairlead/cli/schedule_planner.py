"""What the commands do with a planner: show it objects of all kinds, and have its verdicts told."""

from __future__ import annotations

from typing import Any, Final

from fairlead.scheduling.explain.spared import spared_by
from fairlead.scheduling.explain.story import Teller
from fairlead.scheduling.planner import Planner

_NOT_LOOKED_AT: Final = "the scheduler does not look at"


def see(planner: Planner, obj: Any) -> bool:
    """Shows an object. False for a kind that scheduling does not look at."""
    try:
        planner.see(obj)
    except TypeError as error:
        if not str(error).startswith(_NOT_LOOKED_AT):
            raise
        return False
    return True


def storyteller_of(planner: Planner, now_s: float) -> Teller:
    """Tells what the planner's verdicts mean, with the rights of its queues."""
    turns = planner.turns
    return Teller(planner.outlook, planner.roster.gang_of, spared_by(turns.eviction_rights(), turns.queue_of, now_s))
