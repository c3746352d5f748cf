"""On which of its accelerators a new replica is made, and which replicas are to be tried elsewhere. Pure.

Nothing is remembered but in the replicas themselves: a replica of a later alternative that was made not long ago says
that the earlier ones had no room then. A replica that has a place keeps it; better accelerators that get room again are
taken by new replicas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.serving.observed import Replica
from fairlead.serving.resolved import ResolvedRole

RETRY_FACTOR: Final = 10
"""Times `elsewhereSeconds`: so long an alternative that was passed over is not tried by new replicas."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do now."""

    next: str = ""
    """Alternative of new replicas; empty where there is nothing to choose."""
    moves: Mapping[str, str] = field(default_factory=dict)
    """Replica that has found no place -> alternative to make it on: it is deleted and made anew under its own name. It
    has no node, so nothing is lost, and it never waits for two at once."""
    again_s: float | None = None
    """Seconds until a replica that waits now is to be looked at again; None: no need."""


def choose_alternative(role: ResolvedRole, replicas: Sequence[Replica], elsewhere_s: float, now_s: float) -> Choice:
    """`replicas` are those of the role that are of the resolved revision."""
    names = role.alternatives
    if not names:
        return Choice()
    place = {name: i for i, name in enumerate(names)}
    known = [r for r in replicas if r.role == role.name and not r.is_leaving]
    waiting = {r.name: now_s - r.created_s for r in known if _has_no_place(r)}
    stuck = [r for r in known if r.name in waiting and waiting[r.name] >= elsewhere_s]
    full = {place.get(r.alternative, 0) for r in stuck}
    for replica in known:
        if now_s - replica.created_s < RETRY_FACTOR * elsewhere_s:
            full |= set(range(place.get(replica.alternative, 0)))
    moves = {r.name: names[_after(place.get(r.alternative, 0), len(names), full)] for r in stuck}
    soon = [elsewhere_s - waited for waited in waiting.values() if waited < elsewhere_s]
    return Choice(
        next=names[next((i for i in range(len(names)) if i not in full), 0)],
        moves=moves,
        again_s=min(soon, default=None),
    )


def _has_no_place(replica: Replica) -> bool:
    return any(not m.node and m.unschedulable for m in replica.alive)


def _after(place: int, count: int, full: set[int]) -> int:
    """The next alternative that may have room, the preferred first after the last; the very next where none may."""
    others = [(place + step) % count for step in range(1, count)]
    return next((i for i in others if i not in full), others[0])
