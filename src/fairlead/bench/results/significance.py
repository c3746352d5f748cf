"""Is a difference more than chance, and how small a one could have been seen? One test a function, with its source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.bench.results.grid import RATIO, Grid, percentiles
from fairlead.bench.summary import Distribution

ALPHA, POWER = 0.05, 0.8
TOO_FEW = "too few requests"
"""The basis of what is no estimate at all: it happened, and says nothing of what will."""
DRAWS = 400
MIN_BLOCK_REQUESTS = 8
MIN_BEYOND = 5
"""So many values beyond a percentile make it an estimate, and not one value that happened."""
RESOLUTION = 0.005 * math.sqrt(2 / 12)
"""Values are known to half a per cent (bins of grids, sketches of summaries): the least error of two's difference."""


@dataclass(frozen=True, slots=True)
class Test:
    """`change` is relative (0.1: a tenth more); `low`…`high` its interval of 95 %; `p` of no change at all; `seen` the
    least change that would be found in 4 of 5 cases. `basis`: what the spread was learnt from."""

    change: float
    low: float | None
    high: float | None
    p: float | None
    seen: float | None
    basis: str


def of_blocks(metric: str, share: float, base: Grid, other: Grid) -> Test | None:
    """Ratio of percentiles with blocks of time drawn with replacement, in logarithms (Efron & Tibshirani, An
    Introduction to the Bootstrap, 1993, section 8.5; blocks: Künsch, Annals of Statistics 17(3), 1989). Student's t for
    so few blocks. None where there are too few requests in a block."""
    logs, spreads, blocks = [], [], 0
    for number, grid in enumerate((base, other)):
        counts = grid.counts[metric].astype(np.float64)
        filled = counts[counts.sum(axis=1) >= MIN_BLOCK_REQUESTS]
        if len(filled) < 6 or len(filled) < 0.8 * grid.blocks:
            return None
        # Most bins are empty: only those from the first to the last value are drawn.
        there = np.flatnonzero(filled.sum(axis=0))
        filled = filled[:, there[0] : there[-1] + 1]
        first = int(there[0]) * math.log(RATIO)
        rng = np.random.default_rng((number, int(share * 1000)))
        weights = rng.multinomial(len(filled), np.full(len(filled), 1 / len(filled)), size=DRAWS)
        drawn = np.log(percentiles(weights @ filled, [share])[:, 0])
        logs.append(first + math.log(percentiles(filled.sum(axis=0, keepdims=True), [share])[0, 0]))
        # The bootstrap's variance is that of n, not of n - 1, blocks.
        spreads.append(float(drawn.var(ddof=1)) * len(filled) / (len(filled) - 1))
        blocks += len(filled)
    return _of_logs(logs[1] - logs[0], math.sqrt(sum(spreads)), blocks - 2, f"{blocks} blocks of requests")


def of_rates(base: Sequence[float], other: Sequence[float]) -> Test | None:
    """Ratio of means of blocks of time (per second of each); delta method for logarithms, Welch's t."""
    if min(len(base), len(other)) < 6 or min(np.mean(base), np.mean(other)) <= 0:
        return None
    terms = [np.var(v, ddof=1) / len(v) / np.mean(v) ** 2 for v in (base, other)]
    change = math.log(float(np.mean(other) / np.mean(base)))
    return _of_logs(change, math.sqrt(sum(terms)), len(base) + len(other) - 2, f"{len(base) + len(other)} blocks")


def of_intervals(percentile: float, base: Distribution, other: Distribution) -> Test | None:
    """Where there are no records: from the intervals that the summaries have. None where one has none."""
    if percentile not in base.percentiles or percentile not in other.percentiles:
        return None
    one, two = base.percentiles[percentile], other.percentiles[percentile]
    if one <= 0 or two <= 0:
        return None
    if min(base.count, other.count) * (1 - percentile / 100) < MIN_BEYOND:
        return Test(two / one - 1, None, None, None, None, TOO_FEW)
    variance = 0.0
    for of in (base, other):
        interval = of.intervals.get(percentile)
        if interval is None or not 0 < interval.low <= interval.high < math.inf:
            # A run that gives intervals to others and not to this one has too little for it.
            return Test(two / one - 1, None, None, None, None, TOO_FEW if of.intervals else "no intervals")
        variance += (math.log(interval.high / interval.low) / (2 * 1.96)) ** 2
    return _of_logs(math.log(two / one), math.sqrt(variance), 1000, "the runs' own intervals")


def of_shares(base: tuple[int, int], other: tuple[int, int]) -> Test | None:
    """Difference of shares in points (0.01: one in a hundred more), as (of them, of how many): Fisher's exact test, and
    Newcombe's interval 10 (Statistics in Medicine 17, 1998)."""
    from scipy.stats import fisher_exact, norm

    (a, n), (b, m) = base, other
    if not n or not m:
        return None
    p = float(fisher_exact([[a, n - a], [b, m - b]])[1])
    one, two = a / n, b / m
    (low_1, high_1), (low_2, high_2) = _wilson(a, n), _wilson(b, m)
    low = two - one - math.hypot(two - low_2, high_1 - one)
    high = two - one + math.hypot(high_2 - two, one - low_1)
    pooled = (a + b + 1) / (n + m + 2)
    seen = float(norm.ppf(1 - ALPHA / 2) + norm.ppf(POWER)) * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return Test(two - one, low, high, p, seen, f"{n} and {m} requests")


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """As many tests make chance findings: p values so that all of them together err in 5 % of cases (Holm, Scandinavian
    Journal of Statistics 6(2), 1979). None, not tested, stays None."""
    order = sorted((p, k) for k, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    greatest = 0.0
    for rank, (p, k) in enumerate(order):
        greatest = max(greatest, min(1.0, p * (len(order) - rank)))
        corrected[k] = greatest
    return corrected


def _of_logs(change: float, error: float, freedom: int, basis: str) -> Test:
    from scipy.stats import t

    error = max(error, RESOLUTION)
    bound = float(t.ppf(1 - ALPHA / 2, freedom))
    p = 2 * float(t.sf(abs(change) / error, freedom))
    seen = math.expm1((bound + float(t.ppf(POWER, freedom))) * error)
    return Test(
        math.expm1(change), math.expm1(change - bound * error), math.expm1(change + bound * error), p, seen, basis
    )


def _wilson(of: int, n: int) -> tuple[float, float]:
    """Wilson, Journal of the American Statistical Association 22, 1927."""
    z2 = 1.96**2
    middle = (of + z2 / 2) / (n + z2)
    half = 1.96 / (n + z2) * math.sqrt(of * (n - of) / n + z2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)
