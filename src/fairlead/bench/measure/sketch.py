"""A distribution in little memory: counts in buckets whose bounds grow by a constant ratio.

Any percentile is within 0.5 % of the exact order statistic, two sketches are added without loss, and the mean, the
least and the greatest value are exact. DDSketch: Masson, Rim & Lee, VLDB 12(12), 2019, section 2.1.
"""

from __future__ import annotations

import math

import numpy as np

from fairlead.bench.records.columns import Floats, Ints

RELATIVE_ERROR = 0.005
# A hair less than stated, so that rounding in the logarithm does not exceed it.
_ERROR = RELATIVE_ERROR * 0.999
_LOG_RATIO = math.log((1 + _ERROR) / (1 - _ERROR))
SMALLEST = 1e-9
"""Values below count as nought: a nanosecond."""
ROUNDING = 1e-6
"""Differences of times that were equal may be as much below nought."""


class Sketch:
    """Of finite values; what is NaN is left out. Values below nought, by more than rounding, are counted as `negative`
    too, and stand as nought: times are never negative unless a clock has been set."""

    __slots__ = ("_counts", "_low", "_mean", "_squares", "count", "maximum", "minimum", "negative", "zeros")

    def __init__(self) -> None:
        self.count = self.zeros = self.negative = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self._mean = self._squares = 0.0  # squares of distances from the mean
        self._low = 0  # bucket of the first of `_counts`
        self._counts: Ints = np.zeros(0, dtype=np.int64)

    def add(self, values: Floats) -> None:
        values = values[~np.isnan(values)]
        if not len(values):
            return
        mean = float(values.mean())
        self._merge_moments(len(values), mean, float(np.square(values - mean).sum()))
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        positive = values
        if float(values.min()) < SMALLEST:
            self.negative += int((values < -ROUNDING).sum())
            positive = values[values >= SMALLEST]
            self.zeros += len(values) - len(positive)
            if not len(positive):
                return
        buckets = np.ceil(np.log(positive) / _LOG_RATIO).astype(np.int64)
        low = int(buckets.min())
        self._add_counts(low, np.bincount(buckets - low))

    def merge(self, other: Sketch) -> None:
        """Add another one's values."""
        if not other.count:
            return
        self._merge_moments(other.count, other._mean, other._squares)
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.zeros += other.zeros
        self.negative += other.negative
        if len(other._counts):
            self._add_counts(other._low, other._counts)

    def copy(self) -> Sketch:
        made = Sketch()
        made.merge(self)
        return made

    @property
    def mean(self) -> float:
        return self._mean

    @property
    def variance(self) -> float:
        """Of the values themselves, divided by their count."""
        return self._squares / self.count if self.count else 0.0

    def at_rank(self, rank: int) -> float:
        """The value that is `rank`-th from below, counted from 1, within the relative error. Raises IndexError for a
        rank that no value has."""
        if not 1 <= rank <= self.count:
            raise IndexError(f"rank {rank} of {self.count} values")
        if rank == 1:
            return self.minimum
        if rank == self.count:
            return self.maximum
        if rank <= self.zeros:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self._counts), rank - self.zeros))
        upper = math.exp((self._low + at) * _LOG_RATIO)
        # The point of a bucket from which both its bounds are equally far, relatively.
        return min(self.maximum, max(self.minimum, upper * (1 - _ERROR)))

    def percentile(self, percent: float) -> float:
        """The least value that at least `percent` of the values do not exceed (nearest rank)."""
        return self.at_rank(rank_of(percent, self.count))

    def share_at_most(self, value: float) -> float:
        """Which share of the values is at most `value`, by bucket."""
        if not self.count or value < SMALLEST:
            return self.zeros / self.count if self.count and value >= 0 else 0.0
        bucket = math.ceil(math.log(value) / _LOG_RATIO)
        within = int(self._counts[: max(0, bucket - self._low + 1)].sum())
        return (self.zeros + within) / self.count

    def _merge_moments(self, count: int, mean: float, squares: float) -> None:
        # Chan, Golub & LeVeque, The American Statistician 37(3), 1983.
        both = self.count + count
        apart = mean - self._mean
        self._squares += squares + apart * apart * self.count * count / both
        self._mean += apart * count / both
        self.count = both

    def _add_counts(self, low: int, counts: Ints) -> None:
        if not len(self._counts):
            self._low, self._counts = low, counts.astype(np.int64)
            return
        high = low + len(counts)
        if low < self._low or high > self._low + len(self._counts):
            new_low = min(low, self._low)
            grown = np.zeros(max(high, self._low + len(self._counts)) - new_low, dtype=np.int64)
            grown[self._low - new_low : self._low - new_low + len(self._counts)] = self._counts
            self._low, self._counts = new_low, grown
        self._counts[low - self._low : high - self._low] += counts


def rank_of(percent: float, count: int) -> int:
    """Nearest rank, from 1: the smallest whole number that is at least percent/100 · count."""
    # 99.9 is not exact in binary: 1000 values have their 99.9th percentile at 999, not at 1000.
    return min(count, max(1, math.ceil(percent * count / 100 - 1e-9)))
