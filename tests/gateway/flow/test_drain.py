from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.flow.drain import MAX_RETRY_S, UNKNOWN_RETRY_S, DrainRate, compute_retry_after_s


@given(st.floats(0.2, 200.0), st.floats(2.0, 60.0))
def test_a_steady_rate_is_found(per_s: float, seen_s: float) -> None:
    rate = DrainRate()
    rate.waiting_began(0.0)
    sent = int(per_s * seen_s)
    for number in range(1, sent + 1):
        rate.sent(number / per_s)
    found = rate.per_s(seen_s)
    if sent >= 10:
        assert found == pytest.approx(per_s, rel=max(0.2, 3 / sent))


def test_nothing_is_known_before_the_first() -> None:
    rate = DrainRate()
    rate.waiting_began(5.0)
    assert rate.per_s(50.0) is None


def test_a_burst_of_an_instant_is_no_rate() -> None:
    rate = DrainRate()
    rate.waiting_began(0.0)
    for _ in range(10):
        rate.sent(0.0)
    found = rate.per_s(0.0)
    assert found is not None
    assert found <= 11.0


def test_a_queue_that_stands_still_gets_slower_and_an_old_rate_is_forgotten() -> None:
    rate = DrainRate()
    rate.waiting_began(0.0)
    for number in range(100):
        rate.sent(number * 0.1)
    then, later = rate.per_s(10.0), rate.per_s(40.0)
    assert then is not None
    assert later is not None
    assert later < then / 5
    rate.waiting_began(100.0)
    assert rate.per_s(101.0) is None


@given(st.integers(0, 10**6), st.one_of(st.none(), st.floats(0, 1e6)), st.integers(0, 10**9))
def test_retry_after_is_whole_positive_and_bounded(ahead: int, rate: float | None, number: int) -> None:
    assert 1 <= compute_retry_after_s(ahead, rate, number) <= MAX_RETRY_S


def test_retry_after_is_when_those_ahead_are_gone() -> None:
    assert compute_retry_after_s(19, 2.0, 0) == 10
    assert compute_retry_after_s(0, None, 0) == UNKNOWN_RETRY_S
