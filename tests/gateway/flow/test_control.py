"""Order, room, time and answers of the queues of a pool."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.flow import (
    NO_ENDPOINTS,
    Budget,
    Fairness,
    FlowControl,
    FlowSettings,
    Holdback,
    Item,
    Limits,
    Order,
    Outcome,
    Reason,
    Rejection,
    Saturation,
    Verdict,
)
from fairlead.gateway.flow.control import BAND_IDLE_S

FULL = Saturation(1.5, "queues are long")
FREE = Saturation(0.1)


def rejection_of(verdict: Verdict) -> Rejection:
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.rejection is not None
    return verdict.rejection


def order_of(flow: FlowControl, now_s: float = 0.0) -> list[object]:
    return [item.payload for item in iter(lambda: flow.next(now_s, FREE), None)]


def test_a_pool_with_room_sends_at_once() -> None:
    flow = FlowControl()
    assert flow.offer(Item(), 0.0, FREE).outcome is Outcome.DISPATCH
    state = flow.snapshot(0.0)
    assert (state.dispatched_at_once, state.requests, flow.next_deadline_s()) == (1, 0, None)


def test_a_saturated_pool_makes_requests_wait_their_turn() -> None:
    flow = FlowControl()
    first, second = Item(payload=1), Item(payload=2)
    assert flow.offer(first, 0.0, FULL).outcome is Outcome.QUEUED
    assert flow.next(0.1, FULL) is None
    assert flow.offer(second, 0.2, FREE).outcome is Outcome.QUEUED, "nobody passes a request that waits"
    assert order_of(flow) == [1, 2]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=30))
def test_higher_priorities_go_first(priorities: list[int]) -> None:
    flow = FlowControl()
    for number, priority in enumerate(priorities):
        flow.offer(Item(priority, payload=(-priority, number)), 0.0, FULL)
    found = order_of(flow)
    assert found == sorted(found)
    assert len(found) == len(priorities)


def test_an_important_newcomer_passes_those_that_wait_at_a_lower_ceiling() -> None:
    flow = FlowControl(FlowSettings(holdback=Holdback(0.5)))
    flow.offer(Item(10), 0.0, FREE)
    assert flow.offer(Item(0), 0.0, Saturation(0.7)).outcome is Outcome.QUEUED
    assert flow.offer(Item(10), 0.0, Saturation(0.7)).outcome is Outcome.DISPATCH
    assert flow.next(0.0, Saturation(0.7)) is None


def test_sheddable_requests_leave_the_last_part_to_others_while_there_are_others() -> None:
    flow = FlowControl()
    nearly = Saturation(0.95)
    assert flow.offer(Item(-1), 0.0, nearly).outcome is Outcome.DISPATCH
    assert flow.offer(Item(0), 1.0, nearly).outcome is Outcome.DISPATCH
    assert flow.offer(Item(-1, payload="batch", ttl_s=1e6), 2.0, nearly).outcome is Outcome.QUEUED
    assert flow.next(3.0, nearly) is None
    later_s = 1.0 + BAND_IDLE_S + 1.0
    found = flow.next(later_s, nearly)
    assert found is not None
    assert found.payload == "batch"


@given(st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 100)), st.floats(0, 1)), max_size=30))
def test_deadlines_order_a_tenants_requests(requests: list[tuple[float | None, float]]) -> None:
    flow, now_s = FlowControl(FlowSettings(order=Order.EDF, ttl_s=60.0)), 0.0
    for number, (deadline_s, pause_s) in enumerate(requests):
        now_s += pause_s
        key = now_s + 60.0 if deadline_s is None else deadline_s
        flow.offer(Item(deadline_s=deadline_s, payload=(key, number)), now_s, FULL)
    found = order_of(flow, now_s)
    assert found == sorted(found)


def test_slo_deadline_puts_requests_without_an_objective_last_as_they_came() -> None:
    flow = FlowControl(FlowSettings(order=Order.SLO_DEADLINE))
    for deadline_s in (None, 9.0, None, 4.0):
        flow.offer(Item(deadline_s=deadline_s, payload=deadline_s), 0.0, FULL)
    assert order_of(flow) == [4.0, 9.0, None, None]
    fcfs = FlowControl(FlowSettings(order=Order.FCFS))
    for deadline_s in (None, 9.0, None, 4.0):
        fcfs.offer(Item(deadline_s=deadline_s, payload=deadline_s), 0.0, FULL)
    assert order_of(fcfs) == [None, 9.0, None, 4.0]


def test_what_has_missed_its_objective_does_not_make_others_miss_theirs() -> None:
    flow = FlowControl(FlowSettings(order=Order.EDF_ATTAINABLE))
    for deadline_s in (5.0, 1.0, 9.0, 2.0, None):
        flow.offer(Item(deadline_s=deadline_s, payload=deadline_s), 0.0, FULL)
    found = [flow.next(now_s, FREE) for now_s in (0.5, 3.0, 4.0, 5.0, 6.0)]
    assert [item.payload for item in found if item is not None] == [1.0, 5.0, 9.0, None, 2.0]


def test_time_to_live_is_the_shorter_of_the_pools_and_the_clients() -> None:
    flow = FlowControl(FlowSettings(ttl_s=10.0))
    flow.offer(Item(payload="patient", ttl_s=99.0), 0.0, FULL)
    flow.offer(Item(payload="hasty", ttl_s=3.0), 0.0, FULL)
    assert flow.next_deadline_s() == 3.0
    assert flow.expired(2.9) == []
    (hasty,) = flow.expired(3.0)
    assert (hasty.item.payload, hasty.reason, hasty.status) == ("hasty", Reason.TTL_EXPIRED, 429)
    assert "within 3 s" in hasty.message
    assert [r.item.payload for r in flow.expired(10.0)] == ["patient"]
    at_once = rejection_of(flow.offer(Item(ttl_s=0.0), 11.0, FULL))
    assert at_once.reason is Reason.TTL_EXPIRED


def test_a_full_band_refuses_and_says_when_to_come_again() -> None:
    flow = FlowControl(FlowSettings(band_limits=Limits(requests=20)))
    for _ in range(20):
        flow.offer(Item(fairness_id="a"), 0.0, FULL)
    for number in range(40):
        assert flow.next(number * 0.5, FREE) is not None
        flow.offer(Item(fairness_id="a"), number * 0.5, FULL)
    refused = rejection_of(flow.offer(Item(fairness_id="a"), 20.0, FULL))
    assert (refused.reason, refused.status) == (Reason.SATURATED, 429)
    assert "queues are long" in refused.message
    assert "20 requests of priority 0" in refused.message
    # Twenty wait, and two are sent each second.
    assert 9 <= refused.retry_after_s <= 14


def test_retry_after_without_a_known_rate() -> None:
    flow = FlowControl(FlowSettings(band_limits=Limits(requests=0)))
    refused = [rejection_of(flow.offer(Item(), 0.0, FULL)).retry_after_s for _ in range(20)]
    assert set(refused) <= {5, 6, 7}
    assert len(set(refused)) > 1, "clients refused together are told different times"


def test_a_full_band_gives_a_small_tenant_the_place_of_one_that_floods() -> None:
    flow = FlowControl(FlowSettings(band_limits=Limits(requests=10)))
    for number in range(10):
        flow.offer(Item(fairness_id="flood", payload=number), 0.0, FULL)
    verdict = flow.offer(Item(fairness_id="small"), 0.0, FULL)
    assert verdict.outcome is Outcome.QUEUED
    (evicted,) = verdict.evicted
    assert (evicted.item.payload, evicted.reason) == (9, Reason.EVICTED_QUEUE_PRESSURE)
    # It gets no more than its share that way.
    outcomes = Counter(flow.offer(Item(fairness_id="small"), 0.0, FULL).outcome for _ in range(20))
    assert outcomes[Outcome.QUEUED] == 4
    assert rejection_of(flow.offer(Item(fairness_id="flood"), 0.0, FULL)).reason is Reason.SATURATED


def test_a_full_pool_evicts_the_least_important_youngest() -> None:
    flow = FlowControl(FlowSettings(whole_limits=Limits(4, 1_000)))
    for number, priority in enumerate((0, -5, -5, 3)):
        flow.offer(Item(priority, size_bytes=100, payload=number), 0.0, FULL)
    verdict = flow.offer(Item(1), 0.0, FULL)
    assert [(r.item.payload, r.reason) for r in verdict.evicted] == [(2, Reason.EVICTED_PRIORITY)]
    # A large one may take several places.
    verdict = flow.offer(Item(2, size_bytes=850), 0.0, FULL)
    assert [r.item.payload for r in verdict.evicted] == [1, 0]
    assert rejection_of(flow.offer(Item(-9, size_bytes=100), 0.0, FULL)).reason is Reason.SATURATED
    assert rejection_of(flow.offer(Item(9, size_bytes=1_001), 0.0, FULL)).reason is Reason.SATURATED
    assert flow.requests == 3, "a request that can never fit evicts nobody"


def test_all_pools_share_a_budget() -> None:
    budget = Budget(1_000)
    one, other = FlowControl(budget=budget), FlowControl(budget=budget)
    held = Item(size_bytes=900)
    one.offer(held, 0.0, FULL)
    assert rejection_of(other.offer(Item(size_bytes=200), 0.0, FULL)).reason is Reason.SATURATED
    one.abandon(held)
    assert budget.used_bytes == 0
    assert other.offer(Item(size_bytes=200), 0.0, FULL).outcome is Outcome.QUEUED


def test_without_endpoints_requests_wait_longer_and_then_anew() -> None:
    flow = FlowControl(FlowSettings(ttl_s=10.0, no_endpoints_ttl_s=100.0, no_endpoints_limits=Limits(2, 1_000)))
    flow.offer(Item(payload=1), 0.0, NO_ENDPOINTS)
    flow.offer(Item(payload=2, ttl_s=50.0), 0.0, NO_ENDPOINTS)
    assert flow.next_deadline_s() == 50.0
    full = rejection_of(flow.offer(Item(), 0.0, NO_ENDPOINTS))
    assert (full.reason, full.status) == (Reason.NO_ENDPOINTS, 503)
    (late,) = flow.expired(50.0)
    assert (late.reason, late.status, late.item.payload) == (Reason.NO_ENDPOINTS, 503, 2)
    # The endpoint that comes is busy: from now on the time to live is that of a pool with endpoints.
    assert flow.next(95.0, FULL) is None
    assert flow.next_deadline_s() == 105.0
    assert flow.expired(105.0)[0].reason is Reason.TTL_EXPIRED


def test_endpoints_that_come_and_go_do_not_make_a_request_wait_for_ever() -> None:
    flow = FlowControl(FlowSettings(ttl_s=10.0, no_endpoints_ttl_s=20.0))
    flow.offer(Item(), 0.0, NO_ENDPOINTS)
    now_s = 0.0
    while not flow.expired(now_s):
        flow.next(now_s, FULL if int(now_s) % 2 else NO_ENDPOINTS)
        now_s += 1.0
        assert now_s <= 30.0


def test_closing_answers_all_and_refuses_what_comes() -> None:
    flow = FlowControl()
    for priority in (0, 5):
        flow.offer(Item(priority, payload=priority), 0.0, FULL)
    closed = flow.close(1.0)
    assert [(r.item.payload, r.reason, r.status) for r in closed] == [
        (5, Reason.SHUTTING_DOWN, 503), (0, Reason.SHUTTING_DOWN, 503),
    ]  # fmt: skip
    for priority in (0, 7):
        assert rejection_of(flow.offer(Item(priority), 1.0, FREE)).reason is Reason.SHUTTING_DOWN
    assert flow.next(1.0, FREE) is None


def test_abandoned_requests_are_gone_at_once() -> None:
    flow = FlowControl()
    items = [Item(fairness_id=f"t{n % 7}", size_bytes=10) for n in range(1_000)]
    for item in items:
        flow.offer(item, 0.0, FULL)
    for item in items[::2]:
        assert flow.abandon(item)
        assert not flow.abandon(item)
    assert (flow.requests, flow.size_bytes) == (500, 5_000)
    assert len(order_of(flow)) == 500
    assert flow.snapshot(0.0).rejected == {Reason.CONTEXT_CANCELLED: 500}


def test_other_settings_take_over_what_waits() -> None:
    flow = FlowControl(FlowSettings(ttl_s=50.0))
    for number, (priority, deadline_s) in enumerate(((0, 9.0), (0, 4.0), (5, None), (-1, None))):
        flow.offer(Item(priority, size_bytes=10, deadline_s=deadline_s, payload=number), float(number), FULL)
    flow.reconfigure(FlowSettings(order=Order.FCFS, ttl_s=20.0, band_limits=Limits(requests=1)), 5.0)
    assert (flow.requests, flow.size_bytes, flow.budget.used_bytes) == (4, 40, 40)
    assert flow.next_deadline_s() == 20.0
    assert rejection_of(flow.offer(Item(0), 6.0, FULL)).reason is Reason.SATURATED
    assert order_of(flow, 6.0) == [2, 0, 1, 3]
    flow.close(7.0)
    flow.reconfigure(FlowSettings(), 8.0)
    assert rejection_of(flow.offer(Item(0), 8.0, FREE)).reason is Reason.SHUTTING_DOWN


def test_a_priority_may_have_policies_and_limits_of_its_own() -> None:
    flow = FlowControl(
        FlowSettings(
            band_fairness={7: Fairness.GLOBAL_STRICT}, band_order={7: Order.FCFS}, sheddable_limits=Limits(requests=1)
        )
    )
    for priority in (7, 0):
        for tenant, deadline_s in (("a", 9.0), ("a", 1.0), ("b", 5.0)):
            flow.offer(Item(priority, tenant, deadline_s=deadline_s, payload=(priority, deadline_s)), 0.0, FULL)
    assert flow.offer(Item(-1, payload=-1), 0.0, FULL).outcome is Outcome.QUEUED
    assert rejection_of(flow.offer(Item(-1), 0.0, FULL)).reason is Reason.SATURATED
    assert order_of(flow) == [(7, 9.0), (7, 1.0), (7, 5.0), (0, 1.0), (0, 5.0), (0, 9.0), -1]


def test_asking_whether_it_is_open_leaves_no_trace() -> None:
    flow = FlowControl(FlowSettings(band_limits=Limits(requests=1)))
    assert flow.is_open(0, FREE)
    assert not flow.is_open(0, FULL)
    flow.offer(Item(0), 0.0, FULL)
    assert not flow.is_open(0, FREE), "somebody waits"
    assert not flow.is_open(-1, FREE)
    assert flow.is_open(1, FREE)
    state = flow.snapshot(0.0)
    assert (state.requests, state.dispatched_at_once, state.rejected, len(state.bands)) == (1, 0, {}, 1)
    flow.close(0.0)
    assert not flow.is_open(1, FREE)


def test_the_state_can_be_printed() -> None:
    flow = FlowControl()
    flow.offer(Item(3, "a", size_bytes=7), 0.0, FULL)
    flow.offer(Item(-3, "b"), 0.0, FULL)
    state = flow.snapshot(0.0)
    assert [(b.priority, b.requests, b.size_bytes, b.tenants) for b in state.bands] == [(3, 1, 7, 1), (-3, 1, 0, 1)]
    assert state.bands[1].ceiling == 0.9
    assert flow.waiting_at(3) == (1, 7)
    assert flow.waiting_at(99) == (0, 0)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: FlowSettings(ttl_s=0.0), "ttl_s=0.0"),
        (lambda: FlowSettings(no_endpoints_ttl_s=float("inf")), "no_endpoints_ttl_s=inf"),
        (lambda: FlowSettings(weights={"a": 0.0}), "weight 0.0 of tenant 'a'"),
        (lambda: FlowSettings(sheddable_ceiling=1.5), "sheddable_ceiling=1.5"),
        (lambda: FlowSettings(bands={2**31: Limits()}), "priority 2147483648"),
        (lambda: Limits(requests=-1), "requests=-1"),
        (lambda: Holdback(0.9, 0.2), "min_ceiling <= max_ceiling"),
    ],
)
def test_bad_settings_are_named(make: object, names: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError) as caught:
        make()
    assert names in str(caught.value)
