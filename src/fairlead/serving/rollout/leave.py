"""Which replicas leave in this step. Pure.

What has work is drained, what has none is deleted. A ready replica only goes if enough others serve; one that does
not serve anyway goes at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.serving.actions import Action, Delete, Drain
from fairlead.serving.observed import Replica
from fairlead.serving.rollout.availability import Availability
from fairlead.serving.rollout.generations import RoleFleet
from fairlead.serving.rollout.order import has_place, has_work, least_harm_first

SCALED_DOWN: Final = "scaled down"
REPLACED: Final = "replaced by revision"
TAKEN_BACK: Final = "taken back"
OWN_REASONS: Final = (SCALED_DOWN, REPLACED, TAKEN_BACK)
"""How reasons to drain begin that say nothing against the replica: it may be had back."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """What of one role may leave. `keep`: how many of each revision stay, in the order in which they leave."""

    keep: Mapping[str, int]
    why: Mapping[str, str]
    """Reason by revision."""
    new: str
    """The revision whose replicas are new ones in the availability."""
    now_s: float
    drops_placeless: bool = False
    """Whether older replicas that still wait for a place are not waited for any more."""
    desired: int = 0
    has_surge: bool = True


def leave(fleet: RoleFleet, rules: Leaving, availability: Availability) -> list[Action]:
    """Surplus and broken replicas; takes them out of the fleet and the availability."""
    actions: list[Action] = []
    for revision, keep in rules.keep.items():
        replicas = least_harm_first(fleet.of(revision))
        surplus = max(0, len(replicas) - keep)
        placeless = [r for r in replicas[surplus:] if _is_not_waited_for(r, rules)]
        for replica in replicas[:surplus] + placeless:
            actions += _let_go(fleet, replica, rules, availability, rules.why.get(revision, SCALED_DOWN))
    for replica in [r for r in least_harm_first(fleet.counted) if r.broken]:
        actions += _let_go(fleet, replica, rules, availability, replica.broken)
    return actions


def _is_not_waited_for(replica: Replica, rules: Leaving) -> bool:
    return rules.drops_placeless and replica.revision != rules.new and not has_place(replica)


def _let_go(fleet: RoleFleet, replica: Replica, rules: Leaving, availability: Availability, why: str) -> list[Action]:
    is_new = replica.revision == rules.new
    floor = _floor_for_broken(fleet.counted, rules) if replica.broken else None
    if replica.is_ready and not availability.can_lose(is_new, floor):
        return []
    fleet.remove(replica)
    if replica.is_ready:
        availability.lose(is_new)
    # What is broken and does not serve has no answers to finish, whatever it counts.
    if replica.is_ready or (has_work(replica, rules.now_s) and not replica.broken):
        return [Drain(replica.name, replica.broken or why)]
    return [Delete(replica.name, replica.broken or why)]


def _floor_for_broken(counted: Sequence[Replica], rules: Leaving) -> int | None:
    """A broken replica that serves stays until another one serves in its place; unless there may be no surplus one, or
    that one finds no place: then as many may be missing as in any rollout."""
    stuck = any(m.unschedulable for r in counted if not r.broken for m in r.members)
    return None if stuck or not rules.has_surge else rules.desired
