"""What a check tries next and concludes, and how evenness is counted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.check.limits import CLOSE, FIRST_PER_S, HIGHEST_PER_S, Trial, conclusion, next_rate
from fairlead.bench.check.witness import evenness


def trial(rate_per_s: float, why: str = "", server: float = 0.3) -> Trial:
    return Trial(rate_per_s, rate_per_s, 100, *[0.0] * 8, 0.5, 0.0, 0.0, server, 1.0, "nice", (why,) if why else ())


@given(st.floats(20.0, 50_000.0))
def test_the_search_ends_close_to_where_the_machine_ends(capacity_per_s: float) -> None:
    trials: list[Trial] = []
    while (rate := next_rate(trials)) is not None:
        trials.append(trial(rate, "late" if rate > capacity_per_s else ""))
        assert len(trials) < 15
    found, _ = conclusion(trials)
    assert found is None or found <= capacity_per_s
    if FIRST_PER_S <= capacity_per_s < HIGHEST_PER_S:
        assert found is not None and capacity_per_s <= found * CLOSE * 1.01


def test_a_rate_that_was_good_above_one_that_was_not_is_not_believed() -> None:
    trials = [trial(100.0), trial(250.0, "late"), trial(600.0)]
    assert conclusion(trials)[0] == 100.0
    assert next_rate(trials) == 158.0


def test_no_rate_is_claimed_where_none_was_valid() -> None:
    valid_per_s, bound_by = conclusion([trial(100.0, "late by 80 ms")])
    assert valid_per_s is None and "the load generator at 100/s: late by 80 ms" in bound_by


def test_a_null_server_that_is_full_is_said_to_be_what_bound() -> None:
    assert "the null server at 900/s" in conclusion([trial(100.0), trial(900.0, "late", server=0.97)])[1]


@given(st.floats(1.0, 5000.0), st.integers(3, 400), st.integers(0, 2**32))
def test_even_arrivals_are_even_and_random_ones_are_not(rate: float, count: int, seed: int) -> None:
    even = evenness([5.0 + number / rate for number in range(count)], rate)
    assert even.deviation_p99_s < 1e-6 and even.gap_cv < 1e-3
    rng = random.Random(seed)
    at, arrivals = 0.0, []
    for _ in range(400):
        at += rng.expovariate(rate)
        arrivals.append(at)
    assert evenness(arrivals, rate).gap_cv > 0.7


def test_a_late_request_and_a_missing_one_are_seen() -> None:
    grid = [number / 100 for number in range(100)]
    late = evenness([*grid[:50], *(at + 0.004 for at in grid[50:])], 100.0)
    assert late.deviation_p99_s == pytest.approx(0.004, abs=1e-9)
    assert evenness(grid[:50] + grid[51:], 100.0).deviation_p99_s == pytest.approx(0.01, abs=1e-9)


def test_of_two_arrivals_nothing_is_said() -> None:
    with pytest.raises(ValueError, match="2 requests arrived"):
        evenness([1.0, 2.0], 1.0)
