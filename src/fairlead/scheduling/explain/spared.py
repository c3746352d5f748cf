"""What protects others from a gang, as its queues and priorities say: asked of the rights that evictions ask."""

from __future__ import annotations

from collections.abc import Callable

from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.reasons import clock_text
from fairlead.scheduling.eviction.rights import Denial, Rights, objection
from fairlead.scheduling.explain.neighbours import Spared
from fairlead.scheduling.gangs.model import Gang


def spared_by(rights: Rights, queue_of: Callable[[Gang], str], now_s: float) -> Callable[[Gang], Spared]:
    """For a gang, why another may not be evicted for it; "" where it may."""

    def spared_for(gang: Gang) -> Spared:
        def spared(other: Gang) -> str:
            bystander = Bystander(other, queue_of(other))
            answer = objection(bystander) or rights.to_evict(gang, bystander, now_s)
            if not isinstance(answer, Denial):
                return ""
            until = f" until {clock_text(answer.until_s)}" if answer.until_s is not None else ""
            return f"{answer.sentence}{until}"

        return spared

    return spared_for
