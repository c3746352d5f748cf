"""Whether a stage stood still: a server that is asked more than it can serve grows its queue, and every figure of such
a stage depends on how long it lasted."""

from __future__ import annotations

from math import erfc, sqrt

import msgspec
import numpy as np

from fairlead.bench.records.columns import Floats
from fairlead.bench.summary import Drift

POINTS = 20
LEAST_POINTS = 8
SIGNIFICANCE = 0.01
GROWN_SHARE = 0.5
"""A trend counts when it changes the quantity by more than this share of its mean over the window."""


class Trend(msgspec.Struct, frozen=True):
    """`slope` per second (Theil–Sen), `p` two-sided (Mann–Kendall), `change` over the window as a share of the mean."""

    slope: float
    p: float
    change: float

    @property
    def rises(self) -> bool:
        return self.slope > 0 and self.p < SIGNIFICANCE and self.change > GROWN_SHARE

    @property
    def falls(self) -> bool:
        return self.slope < 0 and self.p < SIGNIFICANCE and self.change < -GROWN_SHARE


def trend_of(times_s: Floats, values: Floats) -> Trend | None:
    """Of values over time, rising times; None of fewer than eight.

    Mann (Econometrica 13, 1945), Kendall: S is the number of pairs that rise less those that fall; under no trend it is
    near normal with variance n(n−1)(2n+5)/18, less where values are tied. Values are means over slices that are long
    against a request, as the test takes them to be independent. Slope: median over pairs (Sen, JASA 63, 1968).
    """
    count = len(values)
    if count < LEAST_POINTS:
        return None
    later, earlier = np.tril_indices(count, -1)
    rise = values[later] - values[earlier]
    score = float(np.sign(rise).sum())
    ties = np.unique(values, return_counts=True)[1]
    variance = (count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    p = erfc(max(0.0, abs(score) - 1) / sqrt(2 * variance)) if variance > 0 else 1.0
    slope = float(np.median(rise / (times_s[later] - times_s[earlier])))
    mean = float(np.abs(values).mean())
    change = slope * float(times_s[-1] - times_s[0]) / mean if mean > 0 else 0.0
    return Trend(slope, p, change)


def drift_of(ttft: Trend | None, in_flight: Trend | None, open_loop: bool) -> Drift | None:
    """None: too little to tell. Saturated: at a rate, requests in flight and the time to first token both rise (a queue
    grows); of users the number in flight is their own, and the queue has an end."""
    if ttft is None and in_flight is None:
        return None
    saturated = open_loop and in_flight is not None and in_flight.rises and (ttft is None or ttft.rises)
    moved = [t for t in (ttft, in_flight if open_loop else None) if t is not None and (t.rises or t.falls)]
    return Drift(
        ttft.slope if ttft is not None else None, ttft.p if ttft is not None else None,
        in_flight.slope if in_flight is not None else None, in_flight.p if in_flight is not None else None,
        not moved, saturated,
    )  # fmt: skip


def gathered(times_s: Floats, counts: Floats, sums: Floats) -> tuple[Floats, Floats]:
    """Means of about twenty stretches of time from sums over slices; stretches with nothing in them are left out."""
    if not len(times_s):
        return times_s, sums
    edges = np.unique(np.linspace(0, len(times_s), POINTS + 1).astype(int)[:-1])
    count, total = np.add.reduceat(counts, edges), np.add.reduceat(sums, edges)
    middles = np.add.reduceat(times_s, edges) / np.diff(np.append(edges, len(times_s)))
    there = count > 0
    return middles[there], total[there] / count[there]
