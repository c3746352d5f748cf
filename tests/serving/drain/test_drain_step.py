"""When a replica that leaves may be stopped: after the gateways know of it and its engine was seen idle twice, or once
its time is over, and never for want of knowledge before that."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.api.model_service import Drain
from fairlead.engines import ENGINES, engine_for
from fairlead.serving.drain import Done, DrainLimits, Waiting, drain_limits, drain_step, with_views
from fairlead.serving.drain.limits import KV_LINGER_S
from fairlead.serving.observed import EngineView, Member, Replica

LIMITS = DrainLimits(settle_s=1, timeout_s=60, grace_s=30)
LEADER = Member("a-0", "u0", node="n", ready=True, started_s=10.0, ready_s=12.0)


def leaving(since_s=100.0, **fields):
    return Replica("a-0", "unified", "r", (LEADER,), draining_s=since_s, **fields)


def idle(since_s, seen_s, **fields):
    return leaving(in_flight=0, in_flight_s=seen_s, idle_s=since_s, **fields)


def test_before_the_gateways_know_of_it_an_idle_engine_is_not_believed():
    step = drain_step(idle(90.0, 100.5), LIMITS, 100.5)
    assert step == Waiting("Settling", "gateways have 1 s to hear that it leaves", 0.5)


def test_a_look_from_before_they_knew_does_not_count():
    assert drain_step(idle(90.0, 100.9), LIMITS, 102.0).why == "Unknown"


def test_one_idle_look_is_not_enough_and_two_are():
    assert drain_step(idle(101.2, 101.2), LIMITS, 101.3).why == "Unseen"
    assert drain_step(idle(101.2, 101.4), LIMITS, 101.5) == Done("Idle", "its engine has nothing in flight")


def test_requests_in_flight_are_waited_for_until_the_limit():
    busy = leaving(in_flight=3, in_flight_s=130.0)
    assert drain_step(busy, LIMITS, 130.0) == Waiting("InFlight", "3 requests are still in flight", 5.0)
    over = drain_step(replace(busy, in_flight_s=160.0), LIMITS, 160.0)
    assert isinstance(over, Done)
    assert over.reason == "3 requests are still in flight after 60 s; after SIGTERM it has 30 s to finish"


def test_an_engine_that_cuts_its_requests_is_said_to():
    over = drain_step(leaving(in_flight=1, in_flight_s=160.0), replace(LIMITS, finishes_streams=False), 160.0)
    assert over == Done("TimedOut", "1 request is still in flight after 60 s; SIGTERM cuts what it still has")


def test_not_knowing_is_not_idleness():
    for replica in (leaving(), leaving(in_flight=None, in_flight_s=120.0), idle(101.0, 105.0)):
        assert drain_step(replica, LIMITS, 120.0).why == "Unknown"


def test_what_nobody_knows_of_has_the_limit_with_the_grace_period_in_it():
    # 60 s in all: 35 until SIGTERM, 25 after it, and 5 to end.
    assert isinstance(drain_step(leaving(), LIMITS, 134.9), Waiting)
    assert drain_step(leaving(), LIMITS, 135.0) == Done(
        "TimedOut", "its engine was not heard since it leaves, and 35 s are over; after SIGTERM it has 30 s to finish"
    )
    cutting = replace(LIMITS, finishes_streams=False, tells=False)
    assert isinstance(drain_step(leaving(), cutting, 159.0), Waiting)
    assert "does not tell how many requests it has" in drain_step(leaving(), cutting, 160.0).reason


@pytest.mark.parametrize(
    "member",
    [
        replace(LEADER, node="", started_s=None),
        replace(LEADER, started_s=None),
        replace(LEADER, waiting="CrashLoopBackOff"),
        replace(LEADER, failed=True),
        replace(LEADER, deleting=True),
        replace(LEADER, index=1),
    ],
)
def test_where_no_engine_runs_nothing_can_be_lost(member):
    replica = Replica("a-0", "unified", "r", (member,), size=2, draining_s=100.0)
    assert drain_step(replica, LIMITS, 100.0) == Done("NotRunning", "no engine runs in it: nothing can be lost")


def test_what_is_not_out_of_its_pool_yet_stays():
    assert drain_step(replace(idle(90.0, 100.0), draining_s=None), LIMITS, 200.0).why == "Settling"


def test_prefill_stays_until_its_cache_was_read():
    limits = replace(LIMITS, holds_kv=True)
    held = drain_step(idle(102.0, 103.0, warmth=0.25), limits, 103.0)
    assert (held.why, held.reason) == ("KvHeld", "decode engines have yet to read 25.0% of its KV cache")
    assert drain_step(idle(102.0, 103.0, warmth=0.0), limits, 103.0).why == "Idle"
    # Blocks that nobody reads end with the replica's time.
    assert drain_step(idle(102.0, 160.0, warmth=0.25), limits, 160.0).why == "TimedOut"


def test_prefill_that_does_not_tell_of_its_cache_lingers():
    limits = replace(LIMITS, holds_kv=True)
    step = drain_step(idle(102.0, 110.0), limits, 110.0)
    assert (step.why, step.again_s) == ("KvHeld", 102.0 + KV_LINGER_S - 110.0)
    assert drain_step(idle(102.0, 132.0), limits, 132.0).why == "Idle"


def test_with_a_clock_set_back_an_idle_engine_may_still_go():
    ahead = replace(idle(90.0, 102.5), draining_s=100_000.0)
    assert drain_step(ahead, LIMITS, 102.0).why == "Idle"
    assert drain_step(replace(ahead, in_flight=1), LIMITS, 102.0).why == "InFlight"


def test_with_a_clock_set_back_prefill_lingers_no_longer_than_from_now():
    step = drain_step(idle(110.0, 112.0), replace(LIMITS, holds_kv=True), 109.0)
    assert (step.why, step.again_s) == ("KvHeld", KV_LINGER_S)


@given(
    draining_s=st.floats(0, 200),
    now_s=st.floats(0, 600),
    in_flight=st.none() | st.integers(0, 3),
    seen_s=st.none() | st.floats(0, 600),
    idle_s=st.none() | st.floats(0, 600),
    warmth=st.none() | st.floats(0, 1),
    holds_kv=st.booleans(),
    finishes=st.booleans(),
    tells=st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_it_ends_in_time_and_loses_nothing_before(
    draining_s, now_s, in_flight, seen_s, idle_s, warmth, holds_kv, finishes, tells
):
    limits = DrainLimits(2, 100, 30, finishes, tells, holds_kv)
    replica = leaving(draining_s, in_flight=in_flight, in_flight_s=seen_s, idle_s=idle_s, warmth=warmth)
    step = drain_step(replica, limits, now_s)
    elapsed_s = now_s - draining_s if draining_s <= now_s + 2 else 2
    draining_s = now_s - elapsed_s
    if elapsed_s >= 100:
        assert isinstance(step, Done)
    if isinstance(step, Waiting):
        assert 0 < step.again_s <= max(5.0, KV_LINGER_S) + 1e-9  # times of day are rounded
        assert step.reason
    elif step.why == "Idle":
        assert elapsed_s >= 2 and in_flight == 0 and seen_s >= draining_s + 2 and idle_s <= seen_s
        assert not (holds_kv and warmth is not None and warmth > 0.001)
    else:
        assert step.why == "TimedOut" and elapsed_s >= (75 if finishes else 100)


def test_limits_are_the_services_and_the_engines():
    drain = Drain(timeout_seconds=90, settle_seconds=2)
    vllm, simulated = engine_for("vllm"), engine_for("simulated")
    assert drain_limits(drain, 30, vllm, "prefill") == DrainLimits(2, 90, 30, True, True, True)
    assert not drain_limits(drain, 30, vllm, "decode").holds_kv
    # SGLang's two sides have the request together: prefill is not done before the cache has moved.
    assert not drain_limits(drain, 30, engine_for("sglang"), "prefill").holds_kv
    assert drain_limits(drain, 30, simulated, timeout_s=5).timeout_s == 5
    assert not drain_limits(drain, 30, engine_for("llama-cpp")).finishes_streams


def test_one_engine_does_not_tell_how_many_requests_it_has():
    assert [name for name in ENGINES if not drain_limits(Drain(), 30, engine_for(name)).tells] == ["jetstream"]


def test_views_are_the_leaders():
    view = EngineView(in_flight=2, kv_usage=0.5, seen_s=7.0)
    other = Replica("b-0", "unified", "r", (replace(LEADER, uid="x"),), warmth=0.1)
    first, second = with_views([leaving(), other], {"u0": view})
    assert (first.in_flight, first.in_flight_s, first.idle_s, first.warmth) == (2, 7.0, None, 0.5)
    assert second is other
