"""Counters that never go back, in memory that does not grow."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from bench.server_side.made import history, is_counter
from fairlead.bench.server_side.history import MAX_LOOKS, History

steps = st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), min_size=1, max_size=40)


@given(st.floats(0, 1e9), steps)
def test_a_total_is_what_was_counted_since_the_first_look(first: float, steps: list[tuple[float, bool]]) -> None:
    """A restart is always seen where the process says when it started; what came before the look is then lost."""
    made = History("a", is_counter)
    raw, known, started = first, 0.0, 1.0
    made.add(0.0, {"x_total": raw}, started)
    for k, (step, restarts) in enumerate(steps, 1):
        raw = step if restarts else raw + step
        started += 10.0 if restarts else 0.0
        known += raw if restarts else step
        made.add(float(k), {"x_total": raw}, started)
    column = made.column("x_total")
    assert math.isclose(column[-1], known, rel_tol=1e-9, abs_tol=1e-6 * max(1.0, first))
    assert all(b >= a for a, b in itertools.pairwise(column))
    assert len(made.restarts) == sum(restarts for _, restarts in steps)


def test_a_counter_that_went_back_began_anew_and_so_did_the_others_of_its_process() -> None:
    made = history(a_total=[10, 20, 5, 8], b_total=[1, 2, 4, 6])
    assert list(made.column("a_total")) == [0, 10, 15, 18]
    assert list(made.column("b_total")) == [0, 1, 5, 7]
    assert made.restarts == [2.0]


def test_of_several_devices_one_that_began_anew_leaves_the_others() -> None:
    a, b = "accelerators:joules:a", "accelerators:joules:b"
    made = history(one_process=False, **{a: [10, 20, 5], b: [1000, 1010, 1020]})
    assert (list(made.column(a)), list(made.column(b))) == ([0, 10, 15], [0, 10, 20])


def test_what_was_not_seen_is_no_number() -> None:
    made = history(running_requests=[1, math.nan, 3], x_total=[4, math.nan, 9])
    assert math.isnan(made.column("running_requests")[1]) and math.isnan(made.column("x_total")[1])
    assert (made.column("x_total")[2], made.looks, dict(made.failures)) == (5, 3, {"nothing": 1})
    assert all(math.isnan(v) for v in made.column("never"))


def test_processes_that_answer_in_turn_are_told_from_a_restart() -> None:
    assert history(x_total=[5, 500, 6, 501, 7, 502, 8, 503]).is_mixed
    assert not history(x_total=[*range(50), *range(50)]).is_mixed


def test_memory_stays_as_it_is_and_totals_with_it() -> None:
    made = History("a", is_counter)
    for k in range(3 * MAX_LOOKS):
        made.add(float(k), {"x_total": 2.0 * k, "running_requests": 1.0})
    assert len(made.times) < MAX_LOOKS and made.thinned >= 1
    assert (made.times[0], made.times[-1]) == (0.0, 3 * MAX_LOOKS - 1)
    assert made.column("x_total")[-1] == 2 * (3 * MAX_LOOKS - 1)
