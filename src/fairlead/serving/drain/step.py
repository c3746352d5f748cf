"""Whether a replica that leaves may be stopped now. Pure.

A replica that leaves is out of its pool first (annotation `fairlead.dev/draining`), then every gateway has `settle_s`
to hear of it, then its requests end. It may be stopped once its engine has had nothing in flight in two looks after
that, once nothing runs in it that could be lost, or once its time is over. Not knowing is not idleness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fairlead.serving.drain.limits import KV_LINGER_S, DrainLimits
from fairlead.serving.observed import Member, Replica

BETWEEN_LOOKS_S: Final = 0.1
"""Two looks at an engine that are this far apart are two."""
FRESH_S: Final = 10.0
"""A look that is older tells nothing of now."""
AGAIN_S: Final = 5.0
"""Looked at again by then though nobody has called."""
EMPTY_KV: Final = 0.0005
"""Share of a KV cache below which nothing is held in it: half a block of a thousand."""

Why = Literal["NotRunning", "Settling", "Unseen", "InFlight", "KvHeld", "Unknown", "Idle", "TimedOut"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """It has to stay. `again_s`: seconds until time alone may change that."""

    why: Why
    reason: str
    again_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """It may be deleted."""

    why: Why
    reason: str


def drain_step(replica: Replica, limits: DrainLimits, now_s: float) -> Waiting | Done:
    """What to do about a replica that leaves since `replica.draining_s`; times are wall-clock seconds."""
    leader = next((m for m in replica.alive if m.index == 0), None)
    if leader is None or not _runs(leader):
        return Done("NotRunning", "no engine runs in it: nothing can be lost")
    if replica.draining_s is None:
        return Waiting("Settling", "it has not been taken out of its pool yet", AGAIN_S)
    # A mark from the future (a clock was set back) tells no time: gateways have long heard of it.
    since_s = replica.draining_s if replica.draining_s <= now_s + limits.settle_s else now_s - limits.settle_s
    elapsed_s = now_s - since_s
    settled_s = since_s + limits.settle_s
    if now_s < settled_s:
        reason = f"gateways have {limits.settle_s:g} s to hear that it leaves"
        return Waiting("Settling", reason, settled_s - now_s)
    in_flight = _in_flight(replica, settled_s, now_s)
    if in_flight is None:
        return _unknown(replica, limits, elapsed_s, settled_s)
    left_s = limits.timeout_s - elapsed_s
    busy = _busy(replica, limits, in_flight, settled_s, now_s)
    if busy is None:
        return Done("Idle", "its engine has nothing in flight")
    if left_s <= 0:
        return Done("TimedOut", f"{busy[1]} after {limits.timeout_s:g} s; {_after_stop(limits)}")
    return Waiting(busy[0], busy[1], min(left_s, busy[2]))


def _runs(leader: Member) -> bool:
    return bool(leader.node) and leader.started_s is not None and not leader.waiting


def _in_flight(replica: Replica, settled_s: float, now_s: float) -> int | None:
    """What a look has found that is fresh and was made after everybody knew; None without one."""
    seen_s = replica.in_flight_s
    if seen_s is None or seen_s < settled_s or now_s - seen_s > FRESH_S:
        return None
    return replica.in_flight


def _busy(
    replica: Replica, limits: DrainLimits, in_flight: int, settled_s: float, now_s: float
) -> tuple[Why, str, float] | None:
    """Why it is not idle yet, and in how many seconds time alone may change that; None where it is."""
    if in_flight > 0:
        return "InFlight", f"{in_flight} {'request is' if in_flight == 1 else 'requests are'} still in flight", AGAIN_S
    idle_s, seen_s = replica.idle_s, replica.in_flight_s
    if idle_s is None or seen_s is None or seen_s - max(idle_s, settled_s) < BETWEEN_LOOKS_S:
        return "Unseen", "its engine was idle in one look, and two count", AGAIN_S
    if not limits.holds_kv:
        return None
    if replica.warmth is not None:
        if replica.warmth <= EMPTY_KV:
            return None
        return "KvHeld", f"decode engines have yet to read {replica.warmth:.1%} of its KV cache", AGAIN_S
    # A look from the future (a clock was set back) is at most one of now.
    left_s = max(min(idle_s, now_s), settled_s) + KV_LINGER_S - now_s
    if left_s <= 0:
        return None
    return "KvHeld", f"decode engines have {KV_LINGER_S:g} s to read its KV cache, of which it tells nothing", left_s


def _unknown(replica: Replica, limits: DrainLimits, elapsed_s: float, settled_s: float) -> Waiting | Done:
    asked = replica.in_flight_s is not None and replica.in_flight_s >= settled_s
    if not limits.tells:
        said = "its engine does not tell how many requests it has"
    elif asked:
        said = "its engine has not said for a while how many requests it has"
    else:
        said = "its engine was not heard since it leaves"
    left_s = limits.blind_s - elapsed_s
    if left_s <= 0:
        return Done("TimedOut", f"{said}, and {limits.blind_s:g} s are over; {_after_stop(limits)}")
    return Waiting("Unknown", said, min(left_s, AGAIN_S))


def _after_stop(limits: DrainLimits) -> str:
    if limits.finishes_streams:
        return f"after SIGTERM it has {limits.grace_s:g} s to finish"
    return "SIGTERM cuts what it still has"
