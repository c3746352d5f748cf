"""When the detectors call a pool saturated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.flow import (
    NO_ENDPOINTS,
    Headroom,
    Saturation,
    concurrency_detector,
    headroom_detector,
    utilization_detector,
)
from fairlead.gateway.pick import Candidate, Context, Query, Speed
from fairlead.gateway.pick.filters.room import RoomParameters, keep_room

SPEED = Speed(0.01, 1e-4, 0.01, 0.001, 100)
IDLE = Candidate("idle:1", others=0, kv_cache_usage_ratio=0.0, running=0, waiting=0, kv_capacity_tokens=100_000)
BUSY = replace(
    IDLE, address="busy:1", in_flight=20, running=18, waiting=0, kv_cache_usage_ratio=0.5, in_flight_tokens=60_000
)


def headroom(*candidates: Candidate) -> Saturation:
    return headroom_detector()(candidates)


def test_an_idle_pool_has_all_room() -> None:
    assert headroom(IDLE).value == 0.0


def test_no_endpoints_is_a_state_of_its_own() -> None:
    for detector in (headroom_detector(), utilization_detector(), concurrency_detector()):
        assert detector([]) is NO_ENDPOINTS
    assert headroom(replace(IDLE, role="encode")) is NO_ENDPOINTS


def test_the_endpoint_with_most_room_decides() -> None:
    jammed = replace(BUSY, waiting=40)
    assert headroom(jammed).value >= 1.0
    assert headroom(jammed, IDLE).value == 0.0


def test_a_queue_in_an_engine_saturates_it_with_little_slack() -> None:
    full = replace(BUSY, running=18, waiting=1, in_flight=19)
    assert 0.0 < headroom(full).value < 1.0
    # Requests sent since the report count at once.
    found = headroom(replace(full, in_flight=20))
    assert found.value >= 1.0
    assert "in its queue" in found.reason
    assert headroom(replace(full, running=200, in_flight=203)).value < 1.0, "a large batch bears a longer queue"
    # The same requests in an engine without a queue fill its batch, and are welcome.
    assert headroom(replace(full, waiting=0, in_flight=30)).value < 1.0


def test_memory_is_what_requests_will_hold_unless_the_engine_knows_better() -> None:
    unique = replace(BUSY, in_flight_tokens=120_000, kv_cache_usage_ratio=0.98)
    assert headroom(unique).value >= 1.0
    shared_prefixes = replace(unique, kv_cache_usage_ratio=0.3)
    assert headroom(shared_prefixes).value < 0.5
    # Twice as many requests as were running at the report hold about twice as much.
    assert headroom(replace(shared_prefixes, in_flight=60)).value >= 1.0
    silent = replace(unique, kv_cache_usage_ratio=None, running=None, waiting=None)
    assert headroom(silent).value >= 1.0
    assert headroom(replace(silent, in_flight_tokens=40_000)).value < 0.5


def test_prompts_to_compute_hold_others_back() -> None:
    behind = replace(BUSY, speed=SPEED, prefill_backlog_tokens=30_000)
    found = headroom(behind)
    assert found.value == pytest.approx(1.5)
    assert "3.0 s of prompts" in found.reason
    assert found.recheck_s is not None, "a backlog shrinks though nothing is heard"
    assert headroom(replace(behind, speed=None)).value < 1.0, "nobody knows how long they take"
    assert headroom(replace(behind, speed=replace(SPEED, prefill_token_s=1e-5))).value < 1.0


def test_what_the_gate_lets_through_goes_where_there_is_room() -> None:
    jammed, has_room = replace(BUSY, waiting=40, in_flight=60), replace(BUSY, address="has-room:1")
    query = Query("m")
    assert keep_room(RoomParameters())(Context(query, [jammed, has_room, IDLE], [0, 0, 0])) == [1, 2]
    assert keep_room(RoomParameters())(Context(query, [jammed], [0])) == [], (
        "passed over: the picker then takes the least bad one"
    )


def test_silence_is_neither_full_nor_empty() -> None:
    blind = Candidate("blind:1", in_flight=50)
    assert headroom(blind).value == pytest.approx(0.5)
    assert headroom(replace(blind, in_flight=100)).value >= 1.0


def test_endpoints_that_take_no_connection_do_not_count_while_there_are_others() -> None:
    gone = replace(IDLE, address="gone:1", reachable=False)
    assert headroom(gone, replace(BUSY, waiting=40)).value >= 1.0
    assert headroom(gone).value == 0.0, "whether to try it is the picker's to say"
    found = headroom(replace(gone, running=18, waiting=5, in_flight=40))
    assert found.value >= 1.0
    assert "none of 1 replicas can be reached" in found.reason


def test_both_stages_of_a_divided_pool_need_room() -> None:
    decode = replace(IDLE, address="decode:1", role="decode")
    prefill = replace(IDLE, address="prefill:1", role="prefill")
    assert headroom(decode, prefill).value == 0.0
    jam = {"running": 10, "waiting": 30, "in_flight": 40}
    assert headroom(decode, replace(prefill, **jam)).value >= 1.0
    assert headroom(replace(decode, **jam), prefill).value >= 1.0


def test_the_known_detectors_keep_to_their_formulas() -> None:
    a = replace(IDLE, waiting=2, kv_cache_usage_ratio=0.2)
    b = replace(IDLE, waiting=0, kv_cache_usage_ratio=0.72)
    assert utilization_detector()([a, b]).value == pytest.approx((0.4 + 0.9) / 2)
    stale = Candidate("stale:1")
    found = utilization_detector()([stale])
    assert found.value == 1.0
    assert "no fresh report" in found.reason
    c = replace(IDLE, in_flight=150, in_flight_tokens=500_000)
    d = replace(IDLE, in_flight=10, in_flight_tokens=100_000)
    assert concurrency_detector()([c, d]).value == pytest.approx(0.8)
    assert concurrency_detector(mode="tokens")([c, d]).value == pytest.approx(0.3)
    assert concurrency_detector(mode="hybrid")([c, d]).value == pytest.approx((1.5 + 0.1) / 2)


candidates = st.builds(
    Candidate, st.just("x:1"), in_flight=st.integers(0, 500), others=st.one_of(st.none(), st.integers(0, 500)),
    kv_cache_usage_ratio=st.one_of(st.none(), st.floats(0, 1)), reachable=st.booleans(),
    role=st.sampled_from(["both", "prefill", "decode", "encode", "prefill-decode", "encode-prefill"]),
    running=st.one_of(st.none(), st.integers(0, 500)), waiting=st.one_of(st.none(), st.integers(0, 500)),
    kv_capacity_tokens=st.one_of(st.none(), st.integers(1, 10**6)), prefill_backlog_tokens=st.floats(0, 1e6),
    in_flight_tokens=st.integers(0, 10**7), speed=st.one_of(st.none(), st.just(SPEED)),
)  # fmt: skip


@given(st.lists(candidates, max_size=6))
def test_a_saturated_pool_says_why(pool: Sequence[Candidate]) -> None:
    for detector in (headroom_detector(), utilization_detector(), concurrency_detector(mode="hybrid")):
        found = detector(pool)
        assert found.value >= 0.0
        assert found.value < 1.0 or found.reason
        assert found.value < 1.0 or found.recheck_s


@given(st.lists(candidates, max_size=5), candidates)
def test_another_endpoint_that_answers_never_makes_a_pool_fuller(pool: list[Candidate], more: Candidate) -> None:
    more = replace(more, role="both", reachable=True)
    pool = [replace(c, role="both", reachable=True) for c in pool]
    assert headroom(*pool, more).value <= headroom(*pool).value


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Headroom(kv_fill=1.2), "kv_fill=1.2"),
        (lambda: Headroom(prefill_backlog_s=0.0), "prefill_backlog_s=0.0"),
        (lambda: utilization_detector(0), "queueDepthThreshold=0"),
        (lambda: concurrency_detector(0), "maxConcurrency=0"),
    ],
)
def test_bad_parameters_are_named(make: object, names: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError) as caught:
        make()
    assert names in str(caught.value)
