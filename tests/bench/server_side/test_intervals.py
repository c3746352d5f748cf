"""Means, areas, increases and percentiles over a stretch."""

from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import assume, given
from hypothesis import strategies as st

from fairlead.bench.server_side.intervals import Counted, added, area, counted, increase, latency, quantile, seen
from fairlead.engines.signals import HistogramSignal

values = st.lists(st.floats(0, 1e4), min_size=2, max_size=30)
ends = st.tuples(st.floats(-5, 35), st.floats(-5, 35)).map(sorted)


@given(values, ends, st.floats(0, 1))
def test_areas_and_increases_of_parts_add_up(values: list[float], ends: list[float], part: float) -> None:
    times = [float(k) for k in range(len(values))]
    begin, end = ends
    middle = begin + (end - begin) * part
    whole, left, right = (area(times, values, a, b, 1.5) for a, b in ((begin, end), (begin, middle), (middle, end)))
    assert math.isclose(whole.area, left.area + right.area, rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(whole.covered_s, left.covered_s + right.covered_s, abs_tol=1e-9)
    totals = [sum(values[:k]) for k in range(len(values))]
    grown = [increase(seen(times, totals), a, b) for a, b in ((begin, end), (begin, middle), (middle, end))]
    whole_by, left_by, right_by = (g.by if g is not None else 0.0 for g in grown)
    assert math.isclose(whole_by, left_by + right_by, rel_tol=1e-9, abs_tol=1e-6)


def test_nothing_is_made_up_between_looks_that_are_far_apart() -> None:
    times, values = [0.0, 1.0, 11.0, 12.0], [2.0, 2.0, 8.0, 8.0]
    found = area(times, values, 0.0, 12.0, 3.0)
    assert (found.covered_s, found.mean, found.highest, found.lowest) == (2.0, 5.0, 8.0, 2.0)
    nan = math.nan
    found = area([0.0, 1.0, 2.0, 3.0, 4.0], [2.0, nan, nan, nan, 4.0], 0.0, 4.0, 3.0)
    assert found.covered_s == 0.0 and found.mean is None
    # A counter knows what came in a gap, though not when.
    assert increase(seen([0.0, 1.0, 9.0], [0.0, nan, 18.0]), 0.0, 9.0) == (18.0, 0.0, 9.0)
    assert increase(seen([0.0, 1.0], [0.0, nan]), 0.0, 1.0) is None


@given(st.lists(st.floats(0.0001, 90), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_lies_within_its_bounds(latencies: list[float], q: float) -> None:
    bounds = (0.01, 0.1, 0.5, 1.0, 5.0, 60.0, math.inf)
    counts = [0] * len(bounds)
    for value in latencies:
        counts[bisect_left(bounds, value)] += 1
    cumulative = tuple(float(sum(counts[: k + 1])) for k in range(len(bounds)))
    found = quantile(Counted(bounds, cumulative, sum(latencies), 0.0, 1.0), q)
    true = sorted(latencies)[max(0, math.ceil(q * len(latencies)) - 1)]
    assert found.low <= true * (1 + 1e-9)
    assert found.high is None or true <= found.high * (1 + 1e-9)
    assert found.low <= found.value <= (found.high if found.high is not None else math.inf)


def _histogram(*counts: float) -> HistogramSignal:
    cumulative = tuple(sum(counts[: k + 1]) for k in range(3))
    return HistogramSignal((0.1, 1.0, math.inf), cumulative, 0.05 * sum(counts), sum(counts))


def test_what_a_histogram_got_is_between_the_looks_nearest_to_the_stage() -> None:
    looks = [
        (-1.0, {"ttft": _histogram(4, 0, 0)}),
        (10.2, {"ttft": _histogram(8, 2, 0)}),
        (20.1, {"ttft": _histogram(8, 12, 1)}),
    ]
    first, second = counted(looks, "ttft", 0.0, 10.0), counted(looks, "ttft", 10.0, 20.0)
    assert first is not None and first.cumulative == (4, 6, 6) and (first.begin_s, first.end_s) == (-1.0, 10.2)
    assert second is not None and second.cumulative == (0, 10, 11)
    assert counted(looks, "e2e", 0.0, 10.0) is None and counted(looks[:1], "ttft", 0.0, 10.0) is None
    assert latency(counted(looks, "ttft", 12.0, 13.0)) is None


def test_a_histogram_that_began_anew_tells_of_what_it_got_since() -> None:
    looks = [(0.0, {"ttft": _histogram(100, 0, 0)}), (9.0, {"ttft": _histogram(3, 4, 0)})]
    found = counted(looks, "ttft", 0.0, 10.0)
    assert found is not None and found.cumulative == (3, 7, 7)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=5))
def test_engines_add_up_by_the_bounds_that_all_have(engines: list[tuple[int, int, int]]) -> None:
    parts = []
    for number, (a, b, c) in enumerate(engines):
        bounds = (0.1, 1.0, math.inf) if number % 2 else (0.1, 0.7, math.inf)
        parts.append(Counted(bounds, (a, a + b, a + b + c), 1.0, 0.0, 1.0))
    together = added(parts)
    assert together is not None
    assume(len(engines) > 1)
    assert together.bounds_s == (0.1, math.inf)
    assert together.cumulative == (sum(a for a, _, _ in engines), sum(map(sum, engines)))
