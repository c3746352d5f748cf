"""Means, areas and increases over a stretch of time, of values seen at looks. NaN: nothing was seen at that look."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fairlead.bench.server_side.figures import Bucketed, ServerLatency
from fairlead.engines.signals import HistogramSignal

Floats = Sequence[float]


class Area(NamedTuple):
    """`covered_s` of the stretch; `highest` of the looks in it (None: there was none)."""

    area: float
    covered_s: float
    highest: float | None
    lowest: float | None

    @property
    def mean(self) -> float | None:
        return self.area / self.covered_s if self.covered_s > 0 else None


def area(times: Floats, values: Floats, begin_s: float, end_s: float, longest_s: float) -> Area:
    """Under straight lines between looks that are at most `longest_s` apart; what is between others is not covered."""
    first = max(0, bisect_left(times, begin_s) - 1)
    total = covered = 0.0
    highest = lowest = None
    before: tuple[float, float] | None = None
    for k in range(first, len(times)):
        at, value = times[k], values[k]
        if math.isnan(value):
            if at > end_s + longest_s:
                break
            continue
        if begin_s <= at <= end_s:
            highest = value if highest is None else max(highest, value)
            lowest = value if lowest is None else min(lowest, value)
        if before is not None and 0 < at - before[0] <= longest_s:
            low, high = max(begin_s, before[0]), min(end_s, at)
            if high > low:
                slope = (value - before[1]) / (at - before[0])
                middle = before[1] + slope * ((low + high) / 2 - before[0])
                total += middle * (high - low)
                covered += high - low
        before = (at, value)
        if at >= end_s:
            break
    return Area(total, covered, highest, lowest)


class Increase(NamedTuple):
    """Of a total that never goes back, from `begin_s` to `end_s`: the part of the stretch that lies between looks."""

    by: float
    begin_s: float
    end_s: float


Seen = Sequence[tuple[float, float]]
"""Times and totals of the looks that saw something, in order."""


def seen(times: Floats, totals: Floats) -> Seen:
    return [(t, v) for t, v in zip(times, totals, strict=True) if not math.isnan(v)]


def increase(points: Seen, begin_s: float, end_s: float) -> Increase | None:
    """Evenly between two looks. None where fewer than two looks saw it, or none of the stretch lies between them."""
    if len(points) < 2:
        return None
    begin_s, end_s = max(begin_s, points[0][0]), min(end_s, points[-1][0])
    if end_s <= begin_s:
        return None
    return Increase(_at(points, end_s) - _at(points, begin_s), begin_s, end_s)


def _at(points: Seen, at_s: float) -> float:
    after = max(1, min(bisect_right(points, (at_s, math.inf)), len(points) - 1))
    (t0, v0), (t1, v1) = points[after - 1], points[after]
    return v0 if t1 <= t0 else v0 + (v1 - v0) * (min(max(at_s, t0), t1) - t0) / (t1 - t0)


# Histograms


class Counted(NamedTuple):
    """What a histogram got between two looks: cumulative counts by upper bounds, their sum in seconds."""

    bounds_s: tuple[float, ...]
    cumulative: tuple[float, ...]
    sum_s: float
    begin_s: float
    end_s: float


def counted(
    snapshots: Sequence[tuple[float, Mapping[str, HistogramSignal]]], name: str, begin_s: float, end_s: float
) -> Counted | None:
    """Between the looks nearest to the ends of the stretch. None where they are the same one, or one has it not."""
    having = [(t, of[name]) for t, of in snapshots if name in of]
    if len(having) < 2:
        return None
    (t0, before), (t1, after) = (_nearest(having, at_s) for at_s in (begin_s, end_s))
    if t1 <= t0:
        return None
    if before.bounds_s != after.bounds_s or any(
        b > a for b, a in zip(before.cumulative, after.cumulative, strict=True)
    ):
        # It began anew in between: what it has got since then is what is known.
        return Counted(after.bounds_s, after.cumulative, after.sum_s, t0, t1)
    cumulative = tuple(a - b for b, a in zip(before.cumulative, after.cumulative, strict=True))
    return Counted(after.bounds_s, cumulative, after.sum_s - before.sum_s, t0, t1)


def _nearest(of: Sequence[tuple[float, HistogramSignal]], at_s: float) -> tuple[float, HistogramSignal]:
    return min(of, key=lambda each: abs(each[0] - at_s))


def added(parts: Iterable[Counted | None]) -> Counted | None:
    """Of several engines, by the bounds that all of them have."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    bounds = [b for b in there[0].bounds_s if all(b in part.bounds_s for part in there)]
    sums = [0.0] * len(bounds)
    for part in there:
        by = dict(zip(part.bounds_s, part.cumulative, strict=True))
        sums = [total + by[bound] for total, bound in zip(sums, bounds, strict=True)]
    begin_s, end_s = min(p.begin_s for p in there), max(p.end_s for p in there)
    return Counted(tuple(bounds), tuple(sums), sum(p.sum_s for p in there), begin_s, end_s)


def latency(of: Counted | None) -> ServerLatency | None:
    """None where nothing was counted."""
    if of is None or not of.cumulative or of.cumulative[-1] <= 0:
        return None
    count = of.cumulative[-1]
    p50, p90, p99 = (quantile(of, q) for q in (0.5, 0.9, 0.99))
    return ServerLatency(count, of.sum_s / count, p50, p90, p99, of.begin_s, of.end_s)


def quantile(of: Counted, q: float) -> Bucketed:
    """Of a histogram that counted something. No more than a share 1 − q of values can be above mean / (1 − q) (Markov's
    inequality), which is often a closer bound than that of a wide bucket."""
    rank = q * of.cumulative[-1]
    at = next((k for k, c in enumerate(of.cumulative) if c >= rank and c > 0), len(of.cumulative) - 1)
    low = of.bounds_s[at - 1] if at else min(0.0, of.bounds_s[0])
    high = of.bounds_s[at]
    if low >= 0:
        high = min(high, max(low, of.sum_s / of.cumulative[-1] / (1 - q)))
    if math.isinf(high):
        return Bucketed(low, low, None)
    below = of.cumulative[at - 1] if at else 0.0
    inside = of.cumulative[at] - below
    share = (rank - below) / inside if inside > 0 else 1.0
    return Bucketed(low + (high - low) * share, low, high)
