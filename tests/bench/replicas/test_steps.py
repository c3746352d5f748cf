"""Areas of step functions against sums made otherwise, and what is asked of them by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bench.replicas.steps import Steps, hidden, steps_of, sum_of_spans

times = st.integers(0, 40).map(lambda n: n / 4)
spans = st.tuples(times, st.none() | times, st.sampled_from([0.5, 1.0, 2.0, 8.0]))
values = st.none() | st.integers(0, 5).map(float)


@settings(max_examples=50)
@given(st.lists(spans, max_size=12), times, times)
def test_the_area_of_spans_is_the_sum_of_their_overlaps_with_the_window(
    found: list[tuple[float, float | None, float]], one: float, two: float
) -> None:
    begin_s, end_s = min(one, two), max(one, two)
    area = sum_of_spans(found, 0.0).area(begin_s, end_s)
    each = (
        max(0.0, min(end_s, end_s if last is None else last) - max(begin_s, first)) * weight
        for first, last, weight in found
        if last is None or last > first
    )
    assert area.sum == pytest.approx(sum(each), abs=1e-6)
    assert area.unknown_s == 0


@settings(max_examples=50)
@given(st.lists(st.tuples(times, values), max_size=12), times, times, times)
def test_areas_add_up_and_what_is_not_known_is_counted_apart(
    points: list[tuple[float, float | None]], one: float, two: float, three: float
) -> None:
    steps = steps_of(sorted(points, key=lambda point: point[0]))
    first, middle, last = sorted((one, two, three))
    whole, left, right = steps.area(first, last), steps.area(first, middle), steps.area(middle, last)
    assert whole.sum == pytest.approx(left.sum + right.sum)
    assert whole.unknown_s == pytest.approx(left.unknown_s + right.unknown_s)
    # Quarters of a second are as fine as the times are.
    quarters = [steps.at(first + k / 4) for k in range(round((last - first) * 4))]
    assert whole.sum == pytest.approx(sum(v for v in quarters if v is not None) / 4)
    assert whole.unknown_s == pytest.approx(sum(v is None for v in quarters) / 4)


@settings(max_examples=50)
@given(st.lists(st.tuples(times, values), max_size=8), st.lists(st.tuples(times, times), max_size=3), times)
def test_a_gap_hides_what_is_within_and_nothing_else(
    points: list[tuple[float, float | None]], gaps: list[tuple[float, float]], at_s: float
) -> None:
    steps = steps_of(sorted(points, key=lambda point: point[0]))
    gaps = [(min(gap), max(gap)) for gap in gaps]
    inside = any(a <= at_s < b for a, b in gaps)
    assert hidden(steps, gaps).at(at_s) == (None if inside else steps.at(at_s))


@settings(max_examples=50)
@given(st.lists(st.tuples(times, values), max_size=12))
def test_steps_rise_in_time_and_each_is_a_change(points: list[tuple[float, float | None]]) -> None:
    steps = steps_of(sorted(points, key=lambda point: point[0]))
    assert all(a < b for a, b in itertools.pairwise(steps.times_s))
    assert all(a != b for a, b in itertools.pairwise(steps.values))


def test_a_number_is_what_it_was_last_and_unknown_before_its_first_time() -> None:
    steps = Steps((1.0, 3.0, 5.0), (2.0, None, 4.0))
    assert [steps.at(t) for t in (0.5, 1.0, 2.9, 3.0, 5.0, 9.0)] == [None, 2.0, 2.0, None, 4.0, 4.0]
    assert steps.area(0.0, 6.0) == (8.0, 3.0)
    assert steps.mean(0.0, 6.0) == pytest.approx(8 / 3)
    assert steps.mean(3.0, 5.0) is None
    assert steps.most(0.0, 4.0) == 2.0
    assert list(steps.changes()) == [(5.0, 2.0, 4.0)]


def test_the_first_time_of_a_number_is_looked_for_within_a_window() -> None:
    steps = Steps((0.0, 2.0, 4.0), (1.0, 3.0, 1.0))
    assert steps.first(3, 0.0, 9.0) == 2.0
    assert steps.first(3, 2.5, 9.0) == 2.5  # it has been so before
    assert steps.first(3, 4.0, 9.0) is None
    assert steps.first_down_to(1, 2.0, 9.0) == 4.0
    assert steps.first_down_to(1, 2.0, 4.0) is None


def test_weights_that_are_no_binary_fractions_add_up_to_nought_again() -> None:
    steps = sum_of_spans([(0.0, 1.0, 0.1), (0.0, 2.0, 0.2), (0.5, 2.0, 0.7)], 0.0)
    assert steps.at(3.0) == 0.0
    assert steps.at(0.7) == 1.0
