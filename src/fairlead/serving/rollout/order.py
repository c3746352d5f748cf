"""Who leaves first: the replica whose leaving costs least. One key, for every choice of a replica.

In order: broken, without a place, not ready, cold (little in its KV cache, by quarters), few requests in flight, young,
and by name so that the choice is always the same. What is not known counts as much: a replica is not chosen because
nobody has looked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from fairlead.serving.observed import Replica

FRESH_S: Final = 30.0
"""A number of requests that was seen longer ago tells nothing."""

Key = tuple[bool, bool, bool, int, float, float, str]


def harm(replica: Replica) -> Key:
    """Sorts by what is lost, the least first."""
    return (
        not replica.broken,
        has_place(replica),
        replica.is_ready,
        4 if replica.warmth is None else math.floor(4 * min(1.0, max(0.0, replica.warmth))),
        math.inf if replica.in_flight is None else float(replica.in_flight),
        -replica.created_s,
        replica.name,
    )


def least_harm_first(replicas: Iterable[Replica]) -> list[Replica]:
    return sorted(replicas, key=harm)


def has_place(replica: Replica) -> bool:
    """Whether all its pods are on nodes; one that has none has nothing to lose."""
    return bool(replica.members) and all(m.node for m in replica.members)


def has_work(replica: Replica, now_s: float) -> bool:
    """Whether requests would be cut if it were deleted: it serves, or was seen with some a moment ago (an engine under
    full load may fail its readiness probe)."""
    if replica.is_ready:
        return True
    if not replica.in_flight or replica.in_flight_s is None or not replica.is_complete:
        return False
    return now_s - replica.in_flight_s <= FRESH_S
