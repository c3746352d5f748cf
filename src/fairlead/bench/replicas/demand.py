"""What one replica carries, as far as the run has shown, and the least fleet that would have kept the objective. Pure.

The run is cut into stretches in which the load and the number of ready replicas stand still (a ramp into ten). A
stretch is judged by its end, as at its beginning it may still work off what had piled up before, or not have piled up
anything yet: the longest last part of it in which enough requests were good all the time, or never. It has kept the
objective when the 95 % interval of the attainment of that part (Wilson) is at or above what is asked for, and failed
when all of it is below.

`kept`: the highest rate per ready replica of a stretch that kept it. `failed`: the lowest rate above that of one that
failed, and that began with nothing piled up. What one replica carries is between them (`kept` may be too much by what
piles up in a stretch without passing the bound: bound / length of the stretch). The fleet that was enough:
⌈rate / kept⌉ replicas at every time, none where nothing was due; and no smaller one than ⌈rate / failed⌉ would do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from fairlead.bench.measure.confidence import wilson
from fairlead.bench.replicas.load_seen import DUE, GOOD, JUDGED, LoadSeen
from fairlead.bench.replicas.reactions import Leg
from fairlead.bench.replicas.steps import Steps

FEWEST = 20
"""Requests of a stretch that can tell anything."""
PARTS = 10


class Carried(NamedTuple):
    """Requests per second and replica. None with `why`: it cannot be said."""

    kept: float | None
    failed: float | None
    why: str = ""


class Stretch(NamedTuple):
    """`per_replica`: requests per second; infinite where none was ready. `kept` None: undecided. `calm`: enough of its
    last requests were good, sure or not."""

    begin_s: float
    end_s: float
    per_replica: float
    kept: bool | None
    calm: bool


def edges_of(legs: Sequence[Leg], stages_s: Sequence[tuple[float, float]]) -> set[float]:
    """Where the load changes: of a load that is planned by its plan, of any other one (a trace) by cutting its stages
    into parts."""
    parts = [(leg.begin_s, leg.end_s, PARTS if leg.first != leg.last else 1) for leg in legs]
    parts = parts or [(begin_s, end_s, PARTS) for begin_s, end_s in stages_s]
    return {begin_s + (end_s - begin_s) * k / count for begin_s, end_s, count in parts for k in range(count + 1)}


def stretches(load: LoadSeen, ready: Steps, edges: set[float], target: float, end_s: float) -> list[Stretch]:
    """Those with requests in which the number of ready replicas is known, in order."""
    edges = edges | {0.0, end_s, *ready.times_s}
    found = []
    for begin_s, until_s in pairwise(sorted(edge for edge in edges if 0 <= edge <= end_s)):
        replicas = ready.at(begin_s)
        if replicas is not None and until_s - begin_s > 1e-6 and load.between(JUDGED, begin_s, until_s) >= 1:
            found.append(_stretch(load, replicas, target, begin_s, until_s))
    return found


def _stretch(load: LoadSeen, replicas: float, target: float, begin_s: float, end_s: float) -> Stretch:
    parts = max(1, min(PARTS, int(load.between(JUDGED, begin_s, end_s) / FEWEST)))
    step_s = (end_s - begin_s) / parts
    good = judged = 0.0
    calm: bool | None = None
    for number in reversed(range(parts)):
        window = begin_s + number * step_s, begin_s + (number + 1) * step_s
        its_good, its_judged = load.between(GOOD, *window), load.between(JUDGED, *window)
        its_calm = its_good >= target * its_judged - 1e-9
        if calm is not None and its_calm != calm:
            break
        calm, good, judged = its_calm, good + its_good, judged + its_judged
    kept = None
    if judged >= FEWEST:
        within = wilson(good, judged)
        kept = True if within.low >= target else False if within.high < target else None
    rate = load.between(DUE, begin_s, end_s) / (end_s - begin_s)
    return Stretch(begin_s, end_s, rate / replicas if replicas else math.inf, kept, bool(calm))


def carried(found: Sequence[Stretch]) -> Carried:
    """What the stretches show together."""
    kept = max((s.per_replica for s in found if s.kept and math.isfinite(s.per_replica)), default=None)
    failed = min(
        (
            stretch.per_replica
            for before, stretch in zip([None, *found], found, strict=False)
            if stretch.kept is False
            and math.isfinite(stretch.per_replica)
            and (before is None or before.calm)
            and (kept is None or stretch.per_replica > kept)
        ),
        default=None,
    )
    if kept is None:
        return Carried(
            None, failed, "no stretch is sure to have kept the objective: longer stages, more requests, or a lower load"
        )  # fmt: skip
    if failed is None:
        return Carried(kept, None, "no stretch was too much for its replicas: fewer may have been enough")
    return Carried(kept, failed)


def least_replica_s(load: LoadSeen, legs: Sequence[Leg], per_replica: float, slice_s: float, end_s: float) -> float:
    """∫ ⌈rate / per_replica⌉ dt. Where the rate is planned, its shape is the plan's and its size what was due: chance
    in single slices needs no replica."""
    total = at_s = 0.0
    for leg in legs:
        planned = (leg.first + leg.last) / 2 * (leg.end_s - leg.begin_s)
        if planned <= 0 or leg.end_s <= leg.begin_s:
            continue
        total += _unplanned(load, at_s, leg.begin_s, per_replica, slice_s)
        total += _of_leg(leg, load.between(DUE, leg.begin_s, leg.end_s) / planned, per_replica)
        at_s = leg.end_s
    return total + _unplanned(load, at_s, end_s, per_replica, slice_s)


def _unplanned(load: LoadSeen, begin_s: float, end_s: float, per_replica: float, slice_s: float) -> float:
    total, at_s = 0.0, begin_s
    while at_s < end_s - 1e-9:
        next_s = min(end_s, at_s + slice_s)
        total += _replicas(load.between(DUE, at_s, next_s) / (next_s - at_s), per_replica) * (next_s - at_s)
        at_s = next_s
    return total


def _of_leg(leg: Leg, size: float, per_replica: float) -> float:
    """Exact: along a ramp the number changes where the rate crosses a multiple of what one carries."""
    low, high = sorted((leg.first * size, leg.last * size))
    seconds = leg.end_s - leg.begin_s
    if high - low < 1e-9:
        return _replicas(high, per_replica) * seconds
    edges = [
        low,
        *(k * per_replica for k in range(math.floor(low / per_replica) + 1, math.ceil(high / per_replica))),
        high,
    ]
    return sum(_replicas((a + b) / 2, per_replica) * seconds * (b - a) / (high - low) for a, b in pairwise(edges))


def _replicas(rate: float, per_replica: float) -> int:
    return math.ceil(rate / per_replica - 1e-9) if rate > 0 else 0
