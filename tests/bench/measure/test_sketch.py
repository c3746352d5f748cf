"""Sketches and sums over time against the exact thing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.measure.sketch import RELATIVE_ERROR, Sketch, rank_of
from fairlead.bench.measure.slices import MOST, InFlight, Slices
from fairlead.bench.summary import PERCENTILES

values = st.lists(st.one_of(st.just(0.0), st.floats(1e-8, 1e9)), min_size=1, max_size=300)
spans = st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300)), min_size=1, max_size=40)


def sketch_of(some: list[float]) -> Sketch:
    sketch = Sketch()
    sketch.add(np.array(some))
    return sketch


@given(values)
def test_every_percentile_is_within_the_stated_error_of_the_order_statistic(some: list[float]) -> None:
    sketch, exact = sketch_of(some), sorted(some)
    for percent in PERCENTILES:
        rank = rank_of(percent, len(exact))
        assert sketch.percentile(percent) == pytest.approx(exact[rank - 1], rel=RELATIVE_ERROR * 1.0001, abs=0)
        assert sum(v <= exact[rank - 1] for v in exact) >= percent / 100 * len(exact) - 1e-6
    assert (sketch.minimum, sketch.maximum, sketch.count) == (exact[0], exact[-1], len(exact))
    assert sketch.mean == pytest.approx(np.mean(exact))
    assert sketch.variance == pytest.approx(np.var(exact), rel=1e-6, abs=1e-9 * max(exact) ** 2)


@given(values, values, values)
def test_merged_in_any_order_is_the_sketch_of_all(one: list[float], two: list[float], three: list[float]) -> None:
    forth, back, whole = Sketch(), Sketch(), sketch_of(one + two + three)
    for part in (one, two, three):
        forth.merge(sketch_of(part))
    for part in (three, two, one):
        back.merge(sketch_of(part))
    for percent in PERCENTILES:
        assert forth.percentile(percent) == back.percentile(percent) == whole.percentile(percent)
    assert forth.mean == pytest.approx(whole.mean)
    assert forth.variance == pytest.approx(whole.variance, rel=1e-6, abs=1e-9 * whole.maximum**2)


def test_what_is_absent_is_no_value_and_what_is_negative_is_told() -> None:
    sketch = sketch_of([math.nan, -0.5, -1e-10, 1.0])
    assert (sketch.count, sketch.negative, sketch.minimum) == (3, 1, -0.5)
    with pytest.raises(IndexError):
        Sketch().percentile(50)


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    sketch, random = Sketch(), np.random.default_rng(1)
    for _ in range(20):
        sketch.add(random.lognormal(-3, 1.5, 50_000))
    assert sketch.count == 1_000_000
    assert sketch._counts.nbytes < 40_000


@given(spans, st.integers(1, 7))
def test_requests_in_flight_are_their_time_in_each_slice(some: list[tuple[float, float]], each: int) -> None:
    flying = InFlight(0.0)
    for at in range(0, len(some), each):
        part = some[at : at + each]
        flying.add(np.array([b for b, _ in part]), np.array([b + length for b, length in part]))
    middles, means = flying.means(0.0, flying.slice_s * MOST)
    assert len(middles) == MOST
    half = flying.slice_s / 2
    for middle, mean in zip(middles, means, strict=True):
        inside = sum(max(0.0, min(b + length, middle + half) - max(b, middle - half)) for b, length in some)
        assert mean * flying.slice_s == pytest.approx(inside, abs=1e-6)


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=60), st.integers(1, 9))
def test_slices_lose_nothing_as_they_grow(times: list[float], each: int) -> None:
    slices = Slices(0.0, 2)
    for at in range(0, len(times), each):
        slices.add(1, np.array(times[at : at + each]))
    assert slices.between(1, 0.0, math.inf) == pytest.approx(len(times))
    assert slices.between(0, 0.0, math.inf) == 0
