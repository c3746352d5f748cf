"""From the series of a metrics page to `EngineSignals`: one rule for each signal, in a table for each engine.

Names of metrics change between versions of an engine, so a rule may know several: the first that the page has counts.
The table stands in the order of the page, which lets the reader find all of it in one pass (see `prometheus_text`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from fairlead.engines.prometheus_text import MetricsPage, Sample, labels_of
from fairlead.engines.signals import EngineSignals, HistogramSignal

_Lines = list[tuple[bytes, bytes]]

_BOUND = re.compile(rb'(?:^|,)\s*le="([^"]*)"')


class Rule(Protocol):
    """How one signal comes out of a page; None where the page does not have it."""

    def read(self, page: MetricsPage) -> Any: ...


class SignalTable:
    """The rules of an engine: signal -> rule."""

    def __init__(self, **rules: Rule) -> None:
        self.rules: Mapping[str, Rule] = rules

    def read(self, page: bytes) -> EngineSignals:
        """What a page says. Never raises."""
        series = MetricsPage(page)
        return EngineSignals(**{signal: rule.read(series) for signal, rule in self.rules.items()})


@dataclass(frozen=True, slots=True)
class Total:
    """Sum over all samples of the first series that is there, times `scale`; with `where`, of those so labelled."""

    names: tuple[bytes, ...]
    where: tuple[str, str] | None = None
    scale: float = 1.0

    def read(self, page: MetricsPage) -> float | None:
        values = _values(page, self.names, self.where)
        return sum(values) * self.scale if values else None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Sum over the reasons for which requests ended (label `finished_reason`) that are no failure of anyone."""

    names: tuple[bytes, ...]

    def read(self, page: MetricsPage) -> float | None:
        for name in self.names:
            if samples := page.samples(name):
                ended = [s.value for s in samples if labels_of(s).get("finished_reason") not in _FAILURES]
                return sum(value for value in ended if math.isfinite(value))
        return None


# Ended by the client, the engine or a limit of time.
_FAILURES = ("abort", "error", "cancelled", "timeout")


@dataclass(frozen=True, slots=True)
class Count:
    """A total that is a number of things; a negative one is no answer."""

    names: tuple[bytes, ...]
    where: tuple[str, str] | None = None

    def read(self, page: MetricsPage) -> int | None:
        values = _values(page, self.names, self.where)
        total = sum(values) if values else -1
        return int(total) if 0 <= total < math.inf else None


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean over the samples, times `scale`."""

    names: tuple[bytes, ...]
    where: tuple[str, str] | None = None
    scale: float = 1.0

    def read(self, page: MetricsPage) -> float | None:
        values = _values(page, self.names, self.where)
        return sum(values) / len(values) * self.scale if values else None


@dataclass(frozen=True, slots=True)
class First:
    """The value of any sample: a setting that all ranks share. A negative one is no answer."""

    names: tuple[bytes, ...]
    where: tuple[str, str] | None = None

    def read(self, page: MetricsPage) -> int | None:
        values = _values(page, self.names, self.where)
        return int(values[0]) if values and values[0] >= 0 else None


@dataclass(frozen=True, slots=True)
class Product:
    """One rule's value times another's, where both are there."""

    left: Rule
    right: Rule

    def read(self, page: MetricsPage) -> int | None:
        left, right = self.left.read(page), self.right.read(page)
        product = None if left is None or right is None else left * right
        return None if product is None or not math.isfinite(product) else int(product)


@dataclass(frozen=True, slots=True)
class Quotient:
    """One rule's value through another's, where both are there and the divisor is not zero."""

    dividend: Rule
    divisor: Rule

    def read(self, page: MetricsPage) -> float | None:
        dividend, divisor = self.dividend.read(page), self.divisor.read(page)
        return None if dividend is None or not divisor else float(dividend / divisor)


@dataclass(frozen=True, slots=True)
class FirstOf:
    """The first of several rules that has an answer."""

    rules: tuple[Rule, ...]

    def read(self, page: MetricsPage) -> Any:
        return next((v for v in (rule.read(page) for rule in self.rules) if v is not None), None)


class Histogram:
    """A latency histogram, its samples added up bucket by bucket. `unit_s` is the length of the page's unit."""

    def __init__(self, *families: bytes, unit_s: float = 1.0) -> None:
        self._families = tuple((f + b"_bucket", f + b"_count", f + b"_sum") for f in families)
        self._unit_s = unit_s

    def read(self, page: MetricsPage) -> HistogramSignal | None:
        """None when the page lacks the histogram or a line of it is unreadable."""
        for bucket, count, total in self._families:
            buckets = page.lines(bucket)
            if buckets:
                try:
                    return self._sum(buckets, page.lines(count), page.lines(total))
                except ValueError:
                    return None
        return None

    def _sum(self, buckets: _Lines, counts: _Lines, sums: _Lines) -> HistogramSignal:
        label_texts, values = zip(*buckets, strict=True)
        layout = _layout(label_texts)
        cumulative = [0.0] * len(layout.bounds)
        for position, value in zip(layout.positions, values, strict=True):
            cumulative[position] += float(value)
        bounds = layout.bounds if self._unit_s == 1.0 else tuple([b * self._unit_s for b in layout.bounds])
        return HistogramSignal(
            bounds,
            tuple(cumulative),
            _added(sums) * self._unit_s,
            _added(counts),
        )


class _Layout(NamedTuple):
    """Of a histogram's lines: the sorted bounds, and for each line which of them it counts for."""

    bounds: tuple[float, ...]
    positions: tuple[int, ...]


@lru_cache(maxsize=4096)
def _layout(label_texts: tuple[bytes, ...]) -> _Layout:
    """From the labels of the bucket lines, the same in every scrape of an engine. Raises ValueError."""
    line_bounds = [_bound(text) for text in label_texts]
    bounds = tuple(sorted(set(line_bounds)))
    return _Layout(bounds, tuple(bounds.index(bound) for bound in line_bounds))


def _bound(label_text: bytes) -> float:
    match = _BOUND.search(label_text)
    if match is None:
        raise ValueError(f"a bucket without an upper bound: {label_text!r}")
    return float(match[1])


def _added(lines: _Lines) -> float:
    """Raises ValueError when there is nothing to add."""
    if not lines:
        raise ValueError("a histogram without its count or sum")
    return sum([float(value) for _, value in lines])


def _values(page: MetricsPage, names: tuple[bytes, ...], where: tuple[str, str] | None) -> list[float]:
    for name in names:
        found = page.samples(name)
        if found:
            return [s.value for s in found if math.isfinite(s.value) and (where is None or _has(s, where))]
    return []


def _has(sample: Sample, where: tuple[str, str]) -> bool:
    return labels_of(sample).get(where[0]) == where[1]


def whole(text: str | None) -> int | None:
    """A label's value as a whole number, or None."""
    return int(text) if text and text.isascii() and text.isdigit() else None
