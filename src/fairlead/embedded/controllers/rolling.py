"""Rolling-update arithmetic of Deployments: surge and unavailable bounds, and proportional scaling. Pure.

Formulas: k8s.io deployment controller (`ResolveFenceposts`, `NewRSNewReplicas`, `reconcileOldReplicaSets`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most `desired + surge` pods exist and at least `desired - unavailable` are available."""

    desired: int
    surge: int
    unavailable: int


def resolve_bounds(desired: int, rolling: Mapping[str, Any]) -> Bounds:
    """maxSurge rounds up, maxUnavailable down; both zero becomes one unavailable, or nothing could ever move."""
    surge = resolve_count(rolling.get("maxSurge", "25%"), desired, up=True)
    unavailable = resolve_count(rolling.get("maxUnavailable", "25%"), desired, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(desired, surge, min(unavailable, desired) if desired else unavailable)


def resolve_count(value: int | str, total: int, *, up: bool) -> int:
    """An int-or-percent of a total."""
    if isinstance(value, int):
        return value
    exact = int(value.rstrip("%")) * total
    return math.ceil(exact / 100) if up else exact // 100


@dataclass(frozen=True, slots=True)
class Set:
    """One ReplicaSet of a rollout: wanted, existing and available pods; `created_s` orders old ones."""

    name: str
    spec: int
    existing: int
    available: int
    created_s: float = 0.0


def compute_new_size(new: Set, old: Sequence[Set], bounds: Bounds) -> int:
    """How far the new set may grow now (or shrink to the desired count)."""
    if new.spec >= bounds.desired:
        return bounds.desired
    total = new.spec + sum(s.spec for s in old)
    room = bounds.desired + bounds.surge - total
    return new.spec + max(0, min(room, bounds.desired - new.spec))


def compute_old_sizes(new: Set, old: Sequence[Set], bounds: Bounds) -> dict[str, int]:
    """Sizes of the old sets after giving up what the bounds allow: unhealthy pods first, then oldest sets.

    Old set name -> size; only changed ones are named. A set's pods count as available up to its size and no further:
    what its status says beyond that is being deleted already, and given up twice it would break the bounds (a set whose
    controller was killed between the two says so until it is back).
    """
    sizes = {s.name: s.spec for s in old}
    total = new.spec + sum(sizes.values())
    new_unavailable = new.spec - new.available
    budget = total - (bounds.desired - bounds.unavailable) - new_unavailable
    if budget <= 0:
        return {}
    ordered = sorted(old, key=lambda s: (s.created_s, s.name))
    for s in ordered:
        unhealthy = min(s.spec - s.available, budget) if s.spec else 0
        if unhealthy > 0:
            sizes[s.name] -= unhealthy
            budget -= unhealthy
    available = sum(min(s.available, s.spec) for s in (new, *old))
    spare = available - (bounds.desired - bounds.unavailable)
    for s in ordered:
        if spare <= 0:
            break
        taken = min(sizes[s.name], spare)
        sizes[s.name] -= taken
        spare -= taken
    return {s.name: sizes[s.name] for s in old if sizes[s.name] != s.spec}


def compute_proportional(sets: Sequence[Set], desired: int, surge: int, before: Mapping[str, int]) -> dict[str, int]:
    """Sizes when the desired count changes during a rollout: the change is shared in proportion to set sizes.

    `before` maps set name -> the maximum (desired + surge) at which it was last sized. Larger sets first on growth
    and on shrinking alike; the rounding rest goes to the first.
    """
    total = sum(s.spec for s in sets)
    allowed = desired + surge if desired > 0 else 0
    to_add = allowed - total
    if not to_add:
        return {}
    ordered = sorted(sets, key=lambda s: (-s.spec, -s.created_s if to_add > 0 else s.created_s, s.name))
    sizes, added = {}, 0
    for s in ordered:
        share = 0
        if to_add and s.spec:
            base = before.get(s.name) or total
            fraction = _round_half_away(s.spec * allowed / base) - s.spec
            rest = to_add - added
            share = min(fraction, rest) if to_add > 0 else max(fraction, rest)
        sizes[s.name] = s.spec + share
        added += share
    if ordered:
        first = ordered[0].name
        sizes[first] = max(0, sizes[first] + to_add - added)
    return {s.name: sizes[s.name] for s in sets if sizes[s.name] != s.spec}


def _round_half_away(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)
