"""What reports correct of the load: prompts that wait at the engine, and adapters that stay loaded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import EngineSignals
from fairlead.gateway.load import ARRIVAL_S, UNKNOWN_ADAPTER_SLOTS, LoadTable
from fairlead.gateway.pick import Speed


def table(*uncached, every_s=0.1):
    loads = LoadTable("x")
    loads.of("a").candidate.speed = Speed(0.0, 1e-5, 0.01, 0.0)
    for number, tokens in enumerate(uncached):
        loads.picked("a", number * every_s, prompt_tokens=tokens)
    return loads


def report(running, waiting, **more):
    return EngineSignals(running_requests=running, waiting_requests=waiting, **more)


def backlog(loads, now_s):
    return loads.candidate("a", now_s).prefill_backlog_tokens


def test_what_waits_is_backlog_whatever_time_has_passed():
    loads = table(1000, 2000, 4000)
    assert backlog(loads, 10.0) == 0.0
    loads.scraped("a", report(1, 2), 10.0, 10.0)
    assert backlog(loads, 10.0) == 6000.0
    assert backlog(loads, 10.01) == pytest.approx(5000.0)
    loads.scraped("a", report(3, 0), 20.0, 20.0)
    assert backlog(loads, 20.0) == 0.0


def test_a_report_never_makes_the_backlog_smaller():
    loads = table(50_000, 50_000, every_s=0.0)
    loads.scraped("a", report(1, 1), 0.1, 0.1)
    assert backlog(loads, 0.1) == pytest.approx(90_000.0)


def test_those_that_were_under_way_while_it_was_made_count_beside_those_that_wait():
    loads = table(1000, 2000)
    loads.picked("a", 5.0 - ARRIVAL_S / 2, prompt_tokens=300)
    loads.scraped("a", report(1, 1), 5.0, 9.0)
    assert backlog(loads, 9.0) == 2300.0


def test_what_others_have_waiting_is_taken_to_be_like_ours():
    loads = table(1000, 1000)
    loads.scraped("a", report(2, 4), 10.0, 10.0)  # two ours, four others
    assert loads.candidate("a", 10.0).others == 4
    assert backlog(loads, 10.0) == pytest.approx(3000.0)


@given(st.lists(st.integers(0, 10**5), max_size=20), st.integers(0, 40), st.integers(0, 40), st.floats(0, 10))
def test_it_is_never_negative_nor_more_than_was_sent_and_the_others_would_have(uncached, running, waiting, now_s):
    loads = table(*uncached)
    loads.scraped("a", report(running, waiting), now_s, now_s)
    got = backlog(loads, now_s)
    assert 0.0 <= got <= max(uncached, default=0) * max(len(uncached), running + waiting) + 1e-6


def adapters(loads):
    return list(loads.of("a").candidate.loaded_adapters)


def test_an_adapter_stays_loaded_until_its_slot_is_needed():
    loads = LoadTable("x")
    loads.scraped("a", report(0, 0, max_adapters=2, running_adapters=()), 0.0, 0.0)
    for adapter in ("x", "y", "x"):
        loads.ended(loads.picked("a", 1.0, adapter=adapter))
    loads.scraped("a", report(0, 0, max_adapters=2, running_adapters=()), 9.0, 9.0)
    assert adapters(loads) == ["y", "x"]
    loads.picked("a", 10.0, adapter="z")
    assert adapters(loads) == ["x", "z"]


def test_adapters_that_others_use_are_loaded_too():
    loads = LoadTable("x")
    loads.scraped("a", report(1, 0, max_adapters=2, running_adapters=("o",)), 0.0, 0.0)
    assert adapters(loads) == ["o"]


def test_engines_that_do_not_tell_their_slots_have_a_few():
    loads = LoadTable("x")
    for number in range(100):
        loads.picked("a", 0.0, adapter=f"x{number}")
    assert adapters(loads) == [f"x{n}" for n in range(100 - UNKNOWN_ADAPTER_SLOTS, 100)]
