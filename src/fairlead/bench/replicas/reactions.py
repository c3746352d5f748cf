"""What followed what: a rise of the load, a change of the wanted number, replicas on nodes and ready, requests lost.

`decision` = first rise of the wanted number − rise of the load; `capacity` = as many replicas ready as were wanted at
most − rise of the load. Requests count to a reaction by when they were due. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from fairlead.bench.replicas.load_seen import GOOD, JUDGED, LoadSeen
from fairlead.bench.replicas.steps import Steps
from fairlead.bench.replicas.timeline import Timeline
from fairlead.bench.scaling_summary import Reaction, ScaleStep

SAME = 1e-9


class Leg(NamedTuple):
    """A stage as the load it is to be: at its begin, and at its end."""

    stage: int
    name: str
    begin_s: float
    end_s: float
    first: float
    last: float


class Shift(NamedTuple):
    """From a time until the next shift the load is another one. `up`: higher, or rising."""

    leg: Leg
    at_s: float
    until_s: float
    up: bool


def shifts(legs: Sequence[Leg]) -> tuple[Shift, ...]:
    """A stage that goes on as the one before ended is none. One that jumps one way and then goes the other counts by
    its jump. The beginning is a rise, from nothing."""
    found: list[tuple[Leg, bool]] = []
    level = 0.0
    for leg in legs:
        jump, slope = leg.first - level, leg.last - leg.first
        way = jump if abs(jump) > SAME else slope
        if abs(way) > SAME:
            found.append((leg, way > 0))
        level = leg.last
    ends = [leg.begin_s for leg, _ in found[1:]] + [leg.end_s for leg in legs[-1:]]
    return tuple(Shift(leg, leg.begin_s, until_s, up) for (leg, up), until_s in zip(found, ends, strict=False))


def load_turns(found: Sequence[Shift]) -> int:
    """How often it went the other way than before."""
    return sum(one.up != two.up for one, two in pairwise(found))


def turns(desired: Steps, within_s: float) -> int:
    """Steps of the wanted number the other way than the one before, and within `within_s` of it."""
    count = 0
    last: tuple[float, bool] | None = None
    for at_s, before, after in desired.changes():
        if last is not None and (after > before) != last[1] and at_s - last[0] <= within_s:
            count += 1
        last = at_s, after > before
    return count


def scale_steps(line: Timeline, end_s: float, load: LoadSeen | None = None) -> tuple[ScaleStep, ...]:
    """Every change of the wanted number, and when it was carried out, up to `end_s`."""
    changes = [change for change in line.desired.changes() if change[0] < end_s]
    found = []
    for at, (at_s, before, after) in enumerate(changes):
        up = after > before
        undone = (t for t, _, wanted in changes[at + 1 :] if (wanted < after if up else wanted > after))
        overtaken_s = next(undone, None)
        until_s = end_s if overtaken_s is None else overtaken_s
        if up:
            scheduled_s = line.allocated.first(after - 1e-6, at_s, until_s)
            ready_s = line.ready.first(after, at_s, until_s)
            gone_s, done = None, ready_s is not None
            over_s = until_s if ready_s is None else ready_s
        else:
            scheduled_s = ready_s = None
            gone_s = line.allocated.first_down_to(after + 1e-6, at_s, until_s)
            done, over_s = gone_s is not None, until_s if gone_s is None else gone_s
        failed = 0 if load is None else load.failed(at_s, over_s + 1e-3)
        found.append(
            ScaleStep(
                at_s,
                int(before),
                int(after),
                scheduled_s,
                ready_s,
                gone_s,
                not done and overtaken_s is not None,
                failed,
            )
        )
    return tuple(found)


def reactions(
    line: Timeline, found: Sequence[Shift], load: LoadSeen, target: float | None, slice_s: float
) -> tuple[Reaction, ...]:
    """To each rise of the load; to the first stage only if something came of it. `target`: share of requests that must
    keep the objective (None: there is none), judged over slices of `slice_s`."""
    made = []
    for number, shift in enumerate(found):
        if not shift.up:
            continue
        reaction = _reaction(line, shift, load, target, slice_s)
        if number or reaction.desired_s is not None or reaction.lost:
            made.append(reaction)
    return tuple(made)


def _reaction(line: Timeline, shift: Shift, load: LoadSeen, target: float | None, slice_s: float) -> Reaction:
    at_s, until_s = shift.at_s, shift.until_s
    before = line.desired.at(at_s)
    rises = [t for t, old, new in line.desired.changes() if at_s <= t < until_s and new > old]
    desired_s = rises[0] if rises else None
    most = line.desired.most(at_s, until_s)
    first_ready_s = ready_s = None
    if desired_s is not None and most is not None:
        had = line.ready.at(desired_s) or 0.0
        first_ready_s = line.ready.first(had + 1, desired_s, until_s)
        ready_s = line.ready.first(most, desired_s, until_s)
    reaction = Reaction(
        shift.leg.stage, shift.leg.name, at_s, until_s, _whole(before), _whole(most if rises else before), desired_s,
        first_ready_s, ready_s, first_token_s=_first_token(line, desired_s, until_s),
    )  # fmt: skip
    if target is None:
        return reaction
    short = short_slices(load, at_s, until_s, target, slice_s)
    judged, good = round(load.between(JUDGED, at_s, until_s)), round(load.between(GOOD, at_s, until_s))
    # Short to the end: it had not recovered by then.
    recovered_s = short[-1][1] if short and short[-1][1] < until_s - 1e-6 else None
    return msgspec.structs.replace(
        reaction, judged=judged, lost=judged - good, short_s=sum(b - a for a, b in short), recovered_s=recovered_s
    )


def _first_token(line: Timeline, desired_s: float | None, until_s: float) -> float | None:
    """Of the pods that were created since then."""
    if desired_s is None:
        return None
    new = (life.seen for life in line.lives if life.seen.created is not None and life.seen.created >= desired_s)
    return min((seen.served for seen in new if seen.served is not None and seen.served < until_s), default=None)


def short_slices(
    load: LoadSeen, begin_s: float, end_s: float, target: float, slice_s: float
) -> list[tuple[float, float]]:
    """Slices of a window in which fewer of the requests due than `target` kept the objective. Slices in which none was
    due are none."""
    found = []
    at_s = begin_s
    while at_s < end_s - 1e-9:
        next_s = min(end_s, at_s + slice_s)
        judged = load.between(JUDGED, at_s, next_s)
        if judged > 1e-6 and load.between(GOOD, at_s, next_s) / judged < target - 1e-9:
            found.append((at_s, next_s))
        at_s = next_s
    return found


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
