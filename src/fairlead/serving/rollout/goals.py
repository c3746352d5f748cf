"""How many replicas of each revision are to be there now, for the three ways a service is kept. Pure.

Rolling: the target grows by sets, the older generations shrink by what it has complete. Trial: both revisions have the
numbers they are given. Paused: every revision keeps its part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.api.model_service import RoleName
from fairlead.serving.rollout.availability import Availability
from fairlead.serving.rollout.generations import RoleFleet, ready
from fairlead.serving.rollout.intent import Intent, RoleIntent
from fairlead.serving.rollout.ratio import Sets


@dataclass(frozen=True, slots=True)
class Goal:
    """Of one role."""

    keep: Mapping[str, int]
    """How many of each revision stay, in the order in which the others leave: intermediate ones, stable, target."""
    limit: int
    """How many replicas there may be in all."""
    floor: int
    """How many have to serve."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the target is: complete sets of it that serve, of how many."""

    done: int
    total: int
    has_stable: bool
    """Whether the stable revision serves, beside it."""

    @property
    def is_whole(self) -> bool:
        return self.done >= self.total

    @property
    def is_proven(self) -> bool:
        """Whether the target can serve at all, as far as is known. Until then the stable revision is kept whole: what
        it loses is made again, and the target gets no more than its budget."""
        return self.done > 0 or not self.has_stable


def standing(intent: Intent, sets: Sets, fleets: Mapping[RoleName, RoleFleet]) -> Standing:
    done = sets.complete({role: ready(fleet.of(intent.target)) for role, fleet in fleets.items()})
    other = intent.stable not in ("", intent.target)
    return Standing(done, sets.total, other and any(ready(f.of(intent.stable)) for f in fleets.values()))


def goal(intent: Intent, sets: Sets, role: RoleIntent, fleet: RoleFleet, at: Standing) -> Goal:
    """Of one of the intent's roles."""
    if intent.is_trial:
        return _trial(intent, role, fleet)
    if intent.paused:
        return Goal(_parts(intent, role, fleet, at), sets.limit(role.role), sets.floor(role.role))
    keep = sets.old(role.role, at.done)
    counts = {revision: len(fleet.of(revision)) for revision in order_of(intent, fleet)}
    kept: dict[str, int] = {}
    for revision in reversed(counts):
        if revision != intent.target:
            kept[revision] = min(counts[revision], keep)
            keep -= kept[revision]
    kept[intent.target] = role.desired
    return Goal({r: kept[r] for r in counts}, sets.limit(role.role), sets.floor(role.role))


def availability(
    intent: Intent, sets: Sets, role: RoleName, fleet: RoleFleet, goal: Goal, at: Standing
) -> Availability:
    """Of one role. New replicas beyond complete sets are clipped only while roles of two generations are there."""
    old = ready(fleet.before(intent.target))
    clipped = len(sets.roles) > 1 and old > 0 and not at.is_whole and not intent.is_trial and not intent.paused
    usable = sets.share(role, at.done) if clipped else None
    return Availability(old, ready(fleet.of(intent.target)), goal.floor, usable)


def order_of(intent: Intent, fleet: RoleFleet) -> Sequence[str]:
    """Revisions in the order in which they leave: intermediate and rejected ones, the stable one, the target."""
    found = {r.revision for r in fleet.counted} | {intent.target}
    last = [intent.stable, intent.target] if intent.stable != intent.target else [intent.target]
    between = sorted(r for r in found if r not in last)
    return [*between, *(r for r in last if r in found or r == intent.stable)]


def _trial(intent: Intent, role: RoleIntent, fleet: RoleFleet) -> Goal:
    stable = role.desired if role.stable is None else role.stable
    keep = {revision: 0 for revision in order_of(intent, fleet)}
    keep |= {intent.stable: stable, intent.target: role.canary}
    total = stable + role.canary
    surge = max(role.surge, 0 if role.unavailable else 1)
    return Goal(keep, total + surge, max(0, min(role.desired, total) - role.unavailable))


def _parts(intent: Intent, role: RoleIntent, fleet: RoleFleet, at: Standing) -> dict[str, int]:
    """The desired number in proportion to what is there, by largest remainders; what is new goes to the stable revision
    while the target has not shown that it serves."""
    order = order_of(intent, fleet)
    counts = {revision: len(fleet.of(revision)) for revision in order}
    total = sum(counts.values())
    safe = intent.stable if intent.can_make(intent.stable) else intent.target
    if total == 0 or (role.desired > total and not at.is_proven):
        counts[safe] = counts.get(safe, 0) + role.desired - total
        return counts
    exact = {revision: number * role.desired / total for revision, number in counts.items()}
    parts = {revision: int(number) for revision, number in exact.items()}
    by_rest = sorted(order, key=lambda r: (parts[r] - exact[r], r != safe, r))
    for revision in by_rest[: role.desired - sum(parts.values())]:
        parts[revision] += 1
    return parts
