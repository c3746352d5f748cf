"""How often endpoints are asked."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.scrape import pace


@given(st.integers(1, 10_000), st.integers(0, 100), st.one_of(st.none(), st.floats(0, 1)), st.integers(1, 20_000))
def test_all_busy_endpoints_together_stay_within_their_budget(requests, waiting, usage, busy):
    interval_s = pace.busy_interval_s(requests, waiting, usage, busy)
    assert interval_s >= pace.BUSY_INTERVAL_S
    assert busy / interval_s <= pace.MAX_BUSY_PER_S * 1.001 or interval_s <= pace.QUIET_INTERVAL_S
    assert busy / interval_s <= max(pace.MAX_BUSY_PER_S * 1.001, busy / pace.BUSY_INTERVAL_S)


def test_load_decides_between_the_two_busy_paces():
    assert pace.busy_interval_s(3, 0, 0.2, 10) == pace.QUIET_INTERVAL_S
    assert pace.busy_interval_s(4, 0, 0.2, 10) == pace.BUSY_INTERVAL_S
    assert pace.busy_interval_s(1, 1, None, 10) == pace.BUSY_INTERVAL_S
    assert pace.busy_interval_s(1, 0, 0.9, 10) == pace.BUSY_INTERVAL_S
    assert pace.busy_interval_s(50, 50, 1.0, 1000) == 2.0


def test_idle_and_dead_endpoints_are_asked_ever_more_rarely_up_to_a_limit():
    intervals, interval = [], 0.0
    for _ in range(8):
        interval = pace.idle_interval_s(interval)
        intervals.append(interval)
    assert intervals == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert [pace.down_interval_s(n) for n in (1, 2, 3, 4, 5, 6, 60)] == [0.5, 0.5, 1, 2, 4, 8, 8]


@given(st.text(max_size=30), st.integers(0, 2**31))
def test_spreading_stays_within_a_tenth(address, count):
    assert 0.9 <= pace.spread(1.0, address, count) <= 1.1


def test_endpoints_that_came_together_do_not_stay_in_step():
    assert len({pace.spread(10.0, f"10.0.0.{i}:8000", 5) for i in range(200)}) > 150
