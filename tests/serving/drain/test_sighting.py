"""From look to look: since when an engine is idle, gets nowhere or does not answer, and what of a page is not believed;
how often one looks; what the controller is called for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import engine_for
from fairlead.serving.drain.engine_watch import Target, due_of
from fairlead.serving.drain.pace import Pace, Rate, spread, within
from fairlead.serving.drain.reading import Reading, reader_for
from fairlead.serving.drain.sighting import Sighting, Silence, look
from fairlead.serving.drain.turns import Turns
from fairlead.serving.observed import EngineView

SIMULATED = engine_for("simulated")


def after(*found, every_s=2.0):
    """The view after looks at 0 s, 2 s, …"""
    sighting = Sighting()
    for turn, each in enumerate(found):
        sighting = look(sighting, each, turn * every_s)
    return sighting.view


def page(in_flight=0, tokens=0.0, **fields):
    return Reading(in_flight, tokens, **fields)


def test_idle_since_the_first_of_the_looks_in_a_row():
    view = after(page(1, 5), page(0, 9), page(0, 9), page(0, 9))
    assert (view.idle_s, view.seen_s, view.stalled_s) == (2.0, 6.0, None)


def test_tokens_between_two_idle_looks_are_work():
    assert after(page(0, 5), page(0, 9)).idle_s == 2.0
    # An engine that always says that it has nothing and goes on making tokens is never idle twice.
    assert after(*[page(0, n) for n in range(20)]).idle_s == 38.0


def test_a_look_without_an_answer_ends_the_row():
    view = after(page(0, 5), Silence("refused", False), page(0, 5))
    assert (view.idle_s, view.unreachable_s) == (4.0, None)


def test_work_without_progress_counts_from_the_second_look():
    view = after(page(2, 5), page(2, 5), page(2, 5), page(1, 5))
    assert (view.stalled_s, view.in_flight) == (2.0, 1)
    assert after(page(2, 5), page(2, 5), page(2, 6)).stalled_s is None
    assert after(page(2, 5), page(0, 5), page(2, 5)).stalled_s is None


def test_a_long_prompt_that_fills_the_cache_is_progress():
    assert after(page(1, 5, kv_usage=0.1), page(1, 5, kv_usage=0.2), page(1, 5, kv_usage=0.3)).stalled_s is None
    assert after(page(1, 5, kv_usage=0.1), page(1, 5, kv_usage=0.1)).stalled_s == 2.0


def test_a_page_without_counters_tells_of_no_hang():
    assert after(Reading(3), Reading(3), Reading(3)).stalled_s is None


def test_another_process_starts_anew():
    assert after(page(2, 5), page(2, 5), page(2, 1)).stalled_s is None
    view = after(page(2, 5, started_s=1.0), page(2, 5, started_s=1.0), page(2, 5, started_s=50.0))
    assert view.stalled_s is None


def test_silence_keeps_what_was_said_with_its_time():
    view = after(page(2, 5), Silence("no whole page within 1 s", True), Silence("no whole page within 1 s", True))
    assert (view.in_flight, view.seen_s, view.unreachable_s, view.accepts) == (2, 0.0, 2.0, True)
    assert after(page(2, 5), Silence("x", True), page(2, 6)).unreachable_s is None


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"", Reading()),
        (b"not a page \xff\xfe", Reading()),
        (b"vllm:num_requests_running -3\n", Reading()),
        (b"vllm:num_requests_running 1e300\n", Reading()),
        (b"vllm:num_requests_running NaN\nvllm:generation_tokens_total NaN\n", Reading()),
        (b"vllm:num_requests_running 2\nvllm:num_requests_waiting 3\n", Reading(5)),
        (b"vllm:num_requests_waiting 3\n", Reading()),
        (b"vllm:kv_cache_usage_perc 7\nvllm:generation_tokens_total -1\n", Reading()),
        (
            b"process_start_time_seconds 17\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 1.01\n"
            b"vllm:prompt_tokens_total 10\nvllm:generation_tokens_total 5\n",
            Reading(0, 15.0, None, 1.0, 17.0),
        ),
    ],
)
def test_pages_are_not_believed_beyond_what_can_be(text, expected):
    assert reader_for(SIMULATED)(text) == expected


readings = st.builds(Reading, st.none() | st.integers(0, 2), st.none() | st.integers(0, 3), kv_usage=st.just(0.5))
silences = st.builds(Silence, st.just("x"), st.booleans())


@given(st.lists(readings | silences, max_size=30))
def test_times_are_those_of_looks_and_exclude_each_other(found):
    sighting = Sighting()
    for turn, each in enumerate(found):
        sighting = look(sighting, each, float(turn))
        view = sighting.view
        assert view.idle_s is None or (view.in_flight == 0 and 0 <= view.idle_s <= view.seen_s)
        assert view.stalled_s is None or (view.in_flight and 0 < view.stalled_s <= view.seen_s)
        assert not (view.idle_s is not None and view.stalled_s is not None)
        assert (view.unreachable_s is None) == isinstance(each, Reading)


def test_all_of_an_urgency_share_its_looks():
    pace = Pace(calm=Rate(5, 20))
    assert pace.interval_s("calm", 8) == 5
    assert pace.interval_s("calm", 8000) == 400
    assert pace.interval_s("leaving", 3) == 0.25
    for turn in range(50):
        assert 0.9 <= spread(1.0, "uid", turn) <= 1.1
    assert 0 <= within(400.0, "uid") < 400


def test_the_budget_holds_whatever_piles_up():
    turns = Turns(20.0)
    things = [object() for _ in range(1000)]
    for thing in things:
        turns.put(thing, 0.0)
    taken, now_s = [], 0.0
    while len(taken) < 200:
        while (thing := turns.take(now_s)) is not None:
            taken.append((now_s, thing))
        now_s = turns.next_s(now_s)
    assert [thing for _, thing in taken] == things[: len(taken)]
    assert 9.5 <= taken[-1][0] <= 10.0
    for start_s, _ in taken:
        assert sum(start_s <= at_s < start_s + 1 for at_s, _ in taken) <= 26


def test_what_is_put_anew_or_removed_is_taken_once_or_not_at_all():
    turns = Turns(100.0)
    first, second = object(), object()
    turns.put(first, 1.0)
    turns.put(second, 2.0)
    turns.put(first, 3.0)
    assert turns.take(1.5) is None and turns.next_s(1.5) == 2.0
    assert turns.remove(second) and not turns.remove(second)
    assert turns.take(5.0) is first and turns.take(5.0) is None and turns.next_s(5.0) is None


def test_what_the_controller_is_called_for():
    leaving = Target("127.0.0.1", 1, SIMULATED, settled_s=100.0, hang_s=60)
    idle = EngineView(in_flight=0, seen_s=101.0, idle_s=50.0)
    assert due_of(leaving, idle, 101.0) == "idle"
    assert due_of(leaving, replace(idle, seen_s=100.05), 101.0) == ""
    assert due_of(replace(leaving, settled_s=None), idle, 101.0) == ""
    prefill = replace(leaving, holds_kv=True)
    assert due_of(prefill, replace(idle, kv_usage=0.2), 101.0) == ""
    assert due_of(prefill, replace(idle, kv_usage=0.0), 101.0) == "idle"
    stalled = EngineView(in_flight=1, seen_s=200.0, stalled_s=140.0)
    assert due_of(leaving, stalled, 200.0) == "hung"
    assert due_of(replace(leaving, hang_s=0), stalled, 200.0) == ""
    away = EngineView(seen_s=10.0, unreachable_s=20.0)
    assert due_of(leaving, away, 79.0) == "" and due_of(leaving, away, 80.0) == "silent"
    assert due_of(leaving, EngineView(unreachable_s=20.0), 500.0) == ""
