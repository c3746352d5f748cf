"""A mergeable histogram with weights and logarithmic buckets: quantiles of any number of values in flat memory.

Buckets grow by 2 %, so a quantile is within 1 % of a value that was added (the idea of DDSketch: Masson, Rim, Lee,
VLDB 2019). Values are positive, in seconds by convention; what is smaller than a nanosecond counts as zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, exp, inf, log

_GROWTH = log(1.02)
_SMALLEST = 1e-9


class Sketch:
    """`add` values, `merge` sketches, ask for `quantile`s."""

    __slots__ = ("_buckets", "count", "max", "min", "sum")

    def __init__(self) -> None:
        self._buckets: dict[int, float] = {}  # bucket -> weight; the bucket of v is ceil(ln(v) / growth)
        self.count = 0.0
        self.sum = 0.0
        self.min = inf
        self.max = -inf

    def add(self, value: float, weight: float = 1.0) -> None:
        """`weight` observations of `value`."""
        bucket = ceil(log(value if value > _SMALLEST else _SMALLEST) / _GROWTH)
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0.0) + weight
        self.count += weight
        self.sum += value * weight
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value

    def merge(self, other: Sketch) -> None:
        """Take over everything the other one has seen."""
        for bucket, weight in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0.0) + weight
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    @property
    def mean(self) -> float | None:
        return self.sum / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """The value below which a share `q` (0 to 1) of the observations lies; None while there are none."""
        if not self.count:
            return None
        rank, seen = q * self.count, 0.0
        for value, weight in self.buckets():
            seen += weight
            if seen >= rank:
                return value
        return self.max

    def buckets(self) -> Iterator[tuple[float, float]]:
        """(value in the middle of the bucket, weight) in rising order."""
        for bucket in sorted(self._buckets):
            middle = exp((bucket - 0.5) * _GROWTH)
            yield min(self.max, max(self.min, middle)), self._buckets[bucket]
