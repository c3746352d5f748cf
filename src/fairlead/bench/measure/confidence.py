"""How sure a figure is, with the number of requests that it comes from."""

from __future__ import annotations

from math import lgamma, log, sqrt
from statistics import NormalDist

import numpy as np

from fairlead.bench.records.columns import Floats
from fairlead.bench.summary import Interval

CONFIDENCE = 0.95
BATCHES = 20
ALL_ALIKE = 1e-6
"""A deviation of less than this share of the mean is rounding."""


def wilson(good: float, count: float, confidence: float = CONFIDENCE) -> Interval:
    """Of a share (Wilson, JASA 22, 1927). Raises ValueError for no trials: absent is not a share of nought."""
    if count <= 0:
        raise ValueError("count is 0: a share of nothing has no interval")
    spread = NormalDist().inv_cdf(0.5 + confidence / 2)
    square, share = spread * spread, good / count
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = spread / (1 + square / count) * sqrt(share * (1 - share) / count + square / (4 * count * count))
    # Exactly nought and one, where rounding would leave a hair.
    return Interval(0.0 if good <= 0 else max(0.0, middle - half), 1.0 if good >= count else min(1.0, middle + half))


def ranks(percent: float, count: int, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """The ranks (from 1) of the order statistics between which a percentile lies with at least this confidence, for
    independent values of any distribution; None where `count` values are too few for either side.

    The number of values below the percentile is binomial (David & Nagaraja, Order Statistics, 3rd ed., 7.1): the low
    rank is the greatest l with P(B < l) ≤ α/2, the high one the least u with P(B ≥ u) ≤ α/2.
    """
    share, tail = percent / 100, (1 - confidence) / 2
    if count < 1 or not 0 < share < 1:
        return None
    spread = 12 * sqrt(count * share * (1 - share)) + 12
    first, last = max(0, int(count * share - spread)), min(count, int(count * share + spread) + 1)
    below = np.cumsum(_binomial(first, last, count, share))  # P(B <= first + k)
    # P(B < l) = below[l - 1 - first]
    low = first + int(np.searchsorted(below, tail, side="right"))
    high = first + int(np.searchsorted(below, 1 - tail, side="left")) + 1
    return (low, high) if low >= 1 and high <= count else None


def _binomial(first: int, last: int, count: int, share: float) -> Floats:
    """Probabilities of first…last successes."""
    successes = np.arange(first, last, dtype=np.float64)
    steps = np.log((count - successes) / (successes + 1)) + log(share) - log(1 - share)
    start = lgamma(count + 1) - lgamma(first + 1) - lgamma(count - first + 1)
    start += first * log(share) + (count - first) * log(1 - share)
    return np.exp(start + np.concatenate([[0.0], np.cumsum(steps)]))


def design_effect(counts: Floats, sums: Floats, variance: float) -> float:
    """How many values tell as much as one that is independent of the others; 1 at least.

    Values near each other in time are alike: a queue spoils many in a row. The variance of their mean over batches of
    time, against that of as many independent values (ratio estimator over clusters: Cochran, Sampling Techniques, 3rd
    ed., 9A; batch means: Law & Kelton 9.5.3). `counts` and `sums` are of slices of time, in order.
    """
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if used < BATCHES:
        return 1.0
    edges = np.linspace(0, used, BATCHES + 1).astype(int)[:-1]
    batch_counts, batch_sums = np.add.reduceat(counts[:used], edges), np.add.reduceat(sums[:used], edges)
    total = float(batch_counts.sum())
    if total < 2 * BATCHES or sqrt(variance) <= ALL_ALIKE * abs(float(batch_sums.sum())) / total:
        return 1.0
    off = batch_sums - batch_sums.sum() / total * batch_counts
    of_mean = BATCHES / (BATCHES - 1) * float(np.square(off).sum()) / total**2
    return min(total / 2, max(1.0, of_mean / (variance / total)))
