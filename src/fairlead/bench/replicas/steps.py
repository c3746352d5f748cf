"""A number that changes at moments and stays between them, and what can be asked of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

Span = tuple[float, float | None]
"""From when to when, in seconds; None: it had not ended."""


class Area(NamedTuple):
    """Value × seconds of what is known, and for how many seconds it is not."""

    sum: float
    unknown_s: float


class Steps(NamedTuple):
    """`values[k]` holds from `times_s[k]` up to the next time, the last one for ever. None: not known then, as it is
    before the first time. Times rise."""

    times_s: tuple[float, ...] = ()
    values: tuple[float | None, ...] = ()

    def at(self, time_s: float) -> float | None:
        after = bisect_right(self.times_s, time_s)
        return self.values[after - 1] if after else None

    def pieces(self, begin_s: float, end_s: float) -> Iterator[tuple[float, float, float | None]]:
        """From, to, value: all of the window, nothing twice."""
        edges = [begin_s, *(t for t in self.times_s if begin_s < t < end_s), end_s]
        for first_s, last_s in pairwise(edges):
            if last_s > first_s:
                yield first_s, last_s, self.at(first_s)

    def area(self, begin_s: float, end_s: float) -> Area:
        """∫ value dt over the window."""
        total = unknown_s = 0.0
        for first_s, last_s, value in self.pieces(begin_s, end_s):
            if value is None:
                unknown_s += last_s - first_s
            else:
                total += value * (last_s - first_s)
        return Area(total, unknown_s)

    def mean(self, begin_s: float, end_s: float) -> float | None:
        """Over what is known of the window; None where nothing is."""
        total, unknown_s = self.area(begin_s, end_s)
        known_s = end_s - begin_s - unknown_s
        return total / known_s if known_s > 1e-9 else None

    def most(self, begin_s: float, end_s: float) -> float | None:
        return max((v for *_, v in self.pieces(begin_s, end_s) if v is not None), default=None)

    def changes(self) -> Iterator[tuple[float, float, float]]:
        """When, from what, to what. What was unknown in between counts at the time when it is known again."""
        before: float | None = None
        for time_s, value in zip(self.times_s, self.values, strict=True):
            if value is None:
                continue
            if before is not None and value != before:
                yield time_s, before, value
            before = value

    def first(self, least: float, after_s: float, until_s: float) -> float | None:
        """When, within a window, it is known to be at least so much for the first time."""
        return next((t for t, _, v in self.pieces(after_s, until_s) if v is not None and v >= least), None)

    def first_down_to(self, most: float, after_s: float, until_s: float) -> float | None:
        """When, within a window, it is known to be at most so much for the first time."""
        return next((t for t, _, v in self.pieces(after_s, until_s) if v is not None and v <= most), None)


def steps_of(points: Iterable[tuple[float, float | None]]) -> Steps:
    """Of times with the values that hold from then on, in order; of one time the last counts, and what does not change
    is no step."""
    times: list[float] = []
    values: list[float | None] = []
    for time_s, at_once in groupby(points, key=lambda point: point[0]):
        value = list(at_once)[-1][1]
        if not values or value != values[-1]:
            times.append(time_s)
            values.append(value)
    return Steps(tuple(times), tuple(values))


def sum_of_spans(spans: Iterable[tuple[float, float | None, float]], begin_s: float) -> Steps:
    """From, to, weight: the sum of the weights of all that are under way, from `begin_s` on."""
    changes = [(begin_s, 0.0)]
    for first_s, last_s, weight in spans:
        if last_s is not None and (last_s <= first_s or last_s <= begin_s):
            continue
        changes.append((max(first_s, begin_s), weight))
        if last_s is not None:
            changes.append((last_s, -weight))
    return sum_of_changes(changes)


def sum_of_changes(changes: Iterable[tuple[float, float]]) -> Steps:
    """Of times with what is added to the number then, in any order."""
    points: list[tuple[float, float | None]] = []
    total = 0.0
    for time_s, by in sorted(changes, key=lambda change: change[0]):
        total += by
        # Weights like 0.1 do not add up to nought again.
        points.append((time_s, round(total, 9) + 0.0))
    return steps_of(points)


def hidden(steps: Steps, gaps: Sequence[Span]) -> Steps:
    """Unknown within the gaps, and what it was outside them."""
    edges = sorted({*steps.times_s, *(edge for gap in gaps for edge in gap if edge is not None)})
    points: list[tuple[float, float | None]] = []
    for time_s in edges:
        is_hidden = any(first_s <= time_s and (last_s is None or time_s < last_s) for first_s, last_s in gaps)
        points.append((time_s, None if is_hidden else steps.at(time_s)))
    return steps_of(points)
