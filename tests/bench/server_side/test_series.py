"""Signals over time, of one engine and of all together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server_side.made import history
from fairlead.bench.server_side.series import ALL, MAX_POINTS, all_engines, averaged, rates, ratios, series_of

nan = math.nan
maybe = st.floats(0, 1e6) | st.just(nan)


@given(st.lists(maybe, min_size=1, max_size=60), st.integers(1, 60))
def test_rates_times_intervals_are_what_was_counted(raw: list[float], most: int) -> None:
    """Whatever is missing, whenever it began anew, however many points there is room for."""
    made = history(x_total=raw)
    points = rates(made.times, made.column("x_total"), most)
    known = [v for v in made.column("x_total") if not math.isnan(v)]
    total, before = 0.0, None
    for at, rate in zip(points.times, points.values, strict=True):
        if rate is not None:
            assert rate >= 0
            assert before is not None
            total += rate * (at - before)
        # None is either the first look, or one that saw nothing: only the first begins an interval.
        before = at if rate is not None or (before is None and not math.isnan(raw[int(at)])) else before
    assert math.isclose(total, (known[-1] - known[0]) if known else 0.0, rel_tol=1e-6, abs_tol=1e-3)
    assert len(points.times) <= most + 1


@given(st.lists(maybe, min_size=1, max_size=60), st.integers(1, 60))
def test_gauges_taken_together_stay_between_their_values(values: list[float], most: int) -> None:
    points = averaged([float(k) for k in range(len(values))], values, most)
    known = [v for v in values if not math.isnan(v)]
    assert len(points.times) <= most
    assert all(min(known) * 0.999999 <= v <= max(known) * 1.000001 for v in points.values if v is not None)
    assert any(v is not None for v in points.values) == bool(known)


def test_a_ratio_is_of_increases_and_unknown_where_nothing_was_asked() -> None:
    hit, asked = [0.0, 0.0, 30.0, 30.0, 30.0, 31.0], [0.0, 10.0, 50.0, nan, 50.0, 52.0]
    values = ratios([float(k) for k in range(6)], hit, asked, 100).values
    assert values == [None, 0.0, 0.75, None, None, 0.5]


def test_engines_add_up_where_all_are_known() -> None:
    a = history(
        "a",
        running_requests=[1.0] * 10,
        kv_cache_usage_ratio=[0.2] * 10,
        generation_tokens_total=list(range(0, 100, 10)),
    )
    b = history(
        "b", running_requests=[2.0] * 10, kv_cache_usage_ratio=[0.4] * 10, generation_tokens_total=list(range(0, 50, 5))
    )
    found = {s.name: s for s in all_engines([a, b], 1.0, 3.0)}
    assert {s.source for s in found.values()} == {ALL}
    assert set(found["running_requests"].values) == {3.0}
    assert found["kv_cache_usage"].values == pytest.approx([0.3] * 9)
    assert found["output_tokens_per_s"].values == pytest.approx([15.0] * 9)
    assert set(found["engines"].values) == {2.0}


def test_an_engine_that_came_later_adds_from_then_on_and_one_that_was_silent_makes_all_unknown() -> None:
    late = [nan] * 8 + [2.0] * 12
    silent = [1.0] * 6 + [nan] * 5 + [1.0] * 9
    parts = [history("a", running_requests=[1.0] * 20), history("late", running_requests=late)]
    came = next(s for s in all_engines(parts, 1.0, 3.0) if s.name == "running_requests")
    assert came.values[5] == 1.0 and came.values[-1] == 3.0
    parts = [history("a", running_requests=[1.0] * 20), history("silent", running_requests=silent)]
    gap = next(s for s in all_engines(parts, 1.0, 3.0) if s.name == "running_requests")
    assert gap.values[2] == 2.0 and gap.values[8] is None and gap.values[-1] == 2.0


def test_many_engines_for_a_long_time_are_few_points() -> None:
    many = [
        history(f"e{k}", running_requests=[1.0] * 400, generation_tokens_total=list(range(400))) for k in range(128)
    ]
    series = series_of(many, all_engines(many[:2], 1.0, 3.0))
    assert sum(len(s.times_s) for s in series) <= MAX_POINTS
    assert len({s.source for s in series}) == 129
