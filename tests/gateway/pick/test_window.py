"""How many requests an engine may have until its next report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import EngineSignals
from fairlead.gateway.load import LoadTable
from fairlead.gateway.pick.candidate import Candidate
from fairlead.gateway.pick.room import FIRST_WINDOW, Headroom, load_of, next_window

COUNTS = st.integers(0, 10_000)


@given(window=COUNTS, running=COUNTS, waiting=COUNTS)
def test_it_never_holds_what_runs(window, running, waiting):
    assert next_window(window, running, waiting) > running or (not waiting and window <= running == 0)


@given(batch=st.integers(1, 2000), window=st.integers(1, 5000))
def test_it_comes_down_to_the_batch_of_an_engine_that_queues(batch, window):
    for _ in range(15):
        window = next_window(window, batch, 5)
    assert window == batch + max(2, batch // 50)


def test_it_grows_with_what_is_seen_to_run():
    window, seen = FIRST_WINDOW, []
    while window < 1000:
        seen.append(window)
        window = next_window(window, window, 0)
    assert seen == [64, 128, 256, 512]


def test_a_burst_at_an_engine_of_which_nothing_is_known_stops_at_the_window():
    loads = LoadTable("r")
    loads.scraped("e", EngineSignals(running_requests=0, waiting_requests=0), 0.0, 0.0)
    sent = 0
    while load_of(loads.candidate("e", 0.1), Headroom()) < 1.0:
        loads.picked("e", 0.1)
        sent += 1
    assert sent == FIRST_WINDOW
    loads.scraped("e", EngineSignals(running_requests=FIRST_WINDOW, waiting_requests=0), 2.0, 2.0)
    assert load_of(loads.candidate("e", 2.0), Headroom()) < 1.0


def test_requests_that_are_over_before_a_report_sees_them_are_no_reason_to_hold_others():
    """An engine so quick, or with ends told so late, that its reports show none of what it was sent."""
    loads, now_s, seen = LoadTable("r"), 0.0, []
    for _ in range(4):
        while load_of(loads.candidate("e", now_s), Headroom()) < 1.0 and len(seen) < 10_000:
            seen.append(loads.picked("e", now_s))
        loads.scraped("e", EngineSignals(running_requests=0, waiting_requests=0), now_s + 0.1, now_s + 0.1)
        now_s += 0.1
    assert len(seen) >= 8 * FIRST_WINDOW


def test_without_a_window_there_is_no_such_bound():
    assert load_of(Candidate("e", in_flight=10_000, running=1, waiting=0), Headroom()) == 0.0
