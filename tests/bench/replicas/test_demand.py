"""What a replica carries and the least fleet, against servers whose capacity is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.replicas.made import even
from fairlead.bench.replicas.demand import carried, edges_of, least_replica_s, stretches
from fairlead.bench.replicas.load_seen import DUE, GOOD, JUDGED, LoadSeen
from fairlead.bench.replicas.reactions import Leg
from fairlead.bench.replicas.steps import Steps

SLICE_S = 0.125


def served(capacity_per_s: float, ready: Steps, legs: list[Leg], patience_s: float = 1.0) -> LoadSeen:
    """A fluid queue before replicas of a known capacity: a request is good when it waits at most `patience_s`."""
    slices = round(legs[-1].end_s / SLICE_S)
    due, good = [0.0] * slices, [0.0] * slices
    waiting = 0.0
    for at in range(slices):
        time_s = at * SLICE_S
        leg = next(leg for leg in legs if leg.begin_s <= time_s < leg.end_s)
        rate = leg.first + (leg.last - leg.first) * (time_s - leg.begin_s) / (leg.end_s - leg.begin_s)
        power = capacity_per_s * (ready.at(time_s) or 0.0)
        due[at] = rate * SLICE_S
        good[at] = due[at] if power > 0 and waiting / power <= patience_s else 0.0
        waiting = max(0.0, waiting + due[at] - power * SLICE_S)
    rows = [[0.0] * slices for _ in range(7)]
    rows[DUE], rows[JUDGED], rows[GOOD] = due, due, good
    return LoadSeen(SLICE_S, tuple(tuple(row) for row in rows))


def shown(load: LoadSeen, ready: Steps, legs: list[Leg]) -> tuple[float | None, float | None, str]:
    edges = edges_of(legs, [])
    return carried(stretches(load, ready, edges, 0.9, legs[-1].end_s))


def step(*rates: float, seconds: float = 60.0) -> list[Leg]:
    return [Leg(k, "", k * seconds, (k + 1) * seconds, rate, rate) for k, rate in enumerate(rates)]


def test_the_capacity_is_between_what_was_kept_and_what_was_not() -> None:
    legs = step(4.0, 16.0, 4.0)
    ready = Steps((0.0, 90.0), (1.0, 3.0))
    kept, failed, _ = shown(served(10.0, ready, legs), ready, legs)
    assert kept == pytest.approx(16 / 3), "three replicas had worked off what had piled up by the end"
    assert failed == pytest.approx(16.0)


@settings(max_examples=40)
@given(st.floats(2.0, 40.0), st.lists(st.integers(1, 60).map(float), min_size=2, max_size=5), st.integers(1, 4))
def test_the_bracket_holds_the_capacity_whatever_the_load(capacity: float, rates: list[float], replicas: int) -> None:
    legs = step(*rates)
    ready = Steps((0.0, 75.0), (float(replicas), float(replicas + 1)))
    kept, failed, _ = shown(served(capacity, ready, legs), ready, legs)
    # In 15 s, the shortest stretch, a queue that grows by less than its patience in all is not told from none.
    assert kept is None or kept <= capacity * (1 + 1.0 / 15) * 1.01
    assert failed is None or failed >= capacity * 0.999


def test_along_a_ramp_the_bracket_is_as_narrow_as_its_parts() -> None:
    legs = [Leg(0, "ramp", 0.0, 200.0, 2.0, 22.0)]
    ready = Steps((0.0,), (1.0,))
    kept, failed, _ = shown(served(10.0, ready, legs), ready, legs)
    assert kept == pytest.approx(9.0, abs=1.1)
    assert failed is not None and 10.0 < failed < 14.0


def test_a_failure_of_what_had_piled_up_before_says_nothing_of_a_replica() -> None:
    # 60 s at five times the capacity leave far more than the 60 s after can work off.
    legs = step(50.0, 5.0)
    ready = Steps((0.0,), (1.0,))
    kept, failed, why = shown(served(10.0, ready, legs), ready, legs)
    assert (kept, failed) == (None, pytest.approx(50.0))
    assert "sure to have kept" in why


def test_a_fleet_that_was_never_too_small_does_not_tell_how_small_it_might_be() -> None:
    legs = step(4.0, 8.0)
    ready = Steps((0.0,), (2.0,))
    kept, failed, why = shown(served(10.0, ready, legs), ready, legs)
    assert (kept, failed) == (pytest.approx(4.0), None)
    assert "fewer may have been enough" in why


def test_few_requests_and_no_replicas_tell_nothing() -> None:
    legs = step(0.2, 0.2)
    assert shown(served(10.0, Steps((0.0,), (1.0,)), legs), Steps((0.0,), (1.0,)), legs)[:2] == (None, None)
    legs = step(8.0)
    none = Steps((0.0,), (0.0,))
    assert shown(served(10.0, none, legs), none, legs)[:2] == (None, None)
    unknown = Steps((0.0,), (None,))
    assert stretches(even([(0, 60, 8, 1.0)]), unknown, edges_of(legs, []), 0.9, 60.0) == []


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=4), st.floats(0.5, 9.0),
    st.floats(0.5, 2.0),
)  # fmt: skip
def test_the_least_fleet_is_the_sum_of_what_each_moment_takes(
    rates: list[tuple[int, int]], per_replica: float, size: float
) -> None:
    legs = [Leg(k, "", k * 10.0, k * 10.0 + 10.0, float(a), float(b)) for k, (a, b) in enumerate(rates)]
    end_s = legs[-1].end_s
    # As many are due as planned, times `size`: sessions of several requests are more than one.
    load = even([(leg.begin_s, leg.end_s, (leg.first + leg.last) / 2 * size, 1.0) for leg in legs])
    fine = 2000
    by_moments = sum(
        math.ceil(size * (leg.first + (leg.last - leg.first) * (k + 0.5) / fine) / per_replica - 1e-9) * 10.0 / fine
        for leg in legs
        for k in range(fine)
    )
    found = least_replica_s(load, legs, per_replica, 1.0, end_s)
    # A moment on either side of a crossing is what summing by moments misses.
    crossings = sum(abs(leg.last - leg.first) * size / per_replica + 1 for leg in legs)
    assert found == pytest.approx(by_moments, abs=crossings * 10.0 / fine + 1e-6)


def test_a_load_that_nobody_planned_is_taken_as_it_was() -> None:
    load = even([(0, 10, 4, 1.0), (10, 20, 0, 1.0), (20, 30, 9, 1.0)])
    assert least_replica_s(load, [], 4.0, 1.0, 30.0) == pytest.approx(10 * 1 + 10 * 0 + 10 * 3)
    assert edges_of([], [(0.0, 20.0)]) >= {0.0, 2.0, 20.0}
