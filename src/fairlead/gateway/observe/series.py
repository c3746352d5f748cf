"""Counts that cost a fraction of a microsecond to feed, and are put into Prometheus' form only when somebody asks.

A request feeds about ten series; through a general client library that alone would take a tenth of the picker's time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

LATENCY_BOUNDS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 600.0, 1200.0, 3600.0,
)  # fmt: skip
TOKEN_TIME_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0, 5.0)
OVERHEAD_BOUNDS_S = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1.0)
TOKEN_BOUNDS = tuple(float(2**n) for n in range(0, 21))
BYTE_BOUNDS = tuple(float(4**n) for n in range(3, 14))
RATIO_BOUNDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@lru_cache
def _texts(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """As Prometheus writes them."""
    return tuple([repr(float(bound)) for bound in bounds])


class Distribution:
    """A histogram: observations up to each bound, their number and sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket in which this share of observations is reached; None without any."""
        rest = share * self.count
        if not self.count:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=False):
            rest -= count
            if rest <= 0:
                return bound
        return self.bounds[-1]

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """(upper bound, observations up to it), as Prometheus has them."""
        total = 0
        for bound, count in zip(_texts(self.bounds), self.counts, strict=False):
            total += count
            yield bound, total
        yield "+Inf", total + self.counts[-1]


def merged(distributions: Iterable[Distribution], bounds: tuple[float, ...]) -> Distribution:
    """The distribution of all observations; all have the same bounds."""
    total = Distribution(bounds)
    for one in distributions:
        total.counts = [a + b for a, b in zip(total.counts, one.counts, strict=True)]
        total.sum += one.sum
    return total


class HistogramFamily:
    """A histogram with its children, written out as Prometheus text at a tenth of what the client library takes.

    There may be thousands of children with twenty lines each, and the picker's requests wait while a page is made.
    """

    __slots__ = ("children", "help", "labels", "name")

    def __init__(
        self, name: str, help: str, labels: Sequence[str], children: Iterable[tuple[Sequence[str], Distribution]]
    ) -> None:
        """Children without an observation are left out."""
        self.name = name
        self.help = help
        self.labels = labels
        self.children = [(values, distribution) for values, distribution in children if distribution.count]

    def text(self) -> str:
        """In Prometheus' text format, version 0.0.4."""
        name = self.name
        lines = [f"# HELP {name} {self.help}\n# TYPE {name} histogram\n"]
        for values, distribution in self.children:
            labels = ",".join([f'{k}="{_escaped(v)}"' for k, v in sorted(zip(self.labels, values, strict=True))])
            start = f'{name}_bucket{{{labels},le="' if labels else f'{name}_bucket{{le="'
            lines += [f'{start}{bound}"}} {count}.0\n' for bound, count in distribution.cumulative()]
            ends = f"{{{labels}}}" if labels else ""
            lines.append(f"{name}_sum{ends} {distribution.sum}\n{name}_count{ends} {distribution.count}.0\n")
        return "".join(lines)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Capped:
    """Label values that clients choose: the first `limit` keep their name, later ones are `other`."""

    def __init__(self, limit: int, always: Iterable[str] = ()) -> None:
        self._limit = limit
        self._known = set(always)

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return "other"
        self._known.add(value)
        return value
