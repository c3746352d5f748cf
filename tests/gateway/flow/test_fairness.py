"""Shares between tenants: bounded differences, weights, and tenants that flood."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.flow import Fairness, FlowControl, FlowSettings, Item, Limits, Outcome, Saturation

FULL = Saturation(1.5, "full")
FREE = Saturation(0.1)
WIDE = FlowSettings(band_limits=Limits(10**6, 10**12), whole_limits=Limits(10**6, 10**12), ttl_s=1e6)


def queued(flow: FlowControl, item: Item) -> Item:
    assert flow.offer(item, 0.0, FULL).outcome is Outcome.QUEUED
    return item


def sent(flow: FlowControl) -> Item:
    item = flow.next(0.0, FREE)
    assert item is not None
    return item


arrivals = st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 1000)), min_size=1, max_size=80)


@settings(max_examples=200, deadline=None)
@given(arrivals, st.lists(st.booleans(), min_size=200, max_size=200), st.sampled_from([{}, {"a": 4.0, "b": 0.5}]))
def test_tenants_that_wait_get_tokens_by_weight(
    requests: list[tuple[str, float]], serve: list[bool], weights: dict[str, float]
) -> None:
    """Over every stretch in which two tenants wait all the time, what they got differs by one request of each."""
    flow = FlowControl(FlowSettings(weights=weights, band_limits=WIDE.band_limits, ttl_s=1e6))
    largest = {t: max((tokens for u, tokens in requests if u == t), default=0.0) / weights.get(t, 1.0) for t in "abc"}
    waiting: Counter[str] = Counter()
    # The gain of each pair since it began to wait together, and the extremes of it.
    gain: dict[tuple[str, str], float] = defaultdict(float)
    low: dict[tuple[str, str], float] = defaultdict(float)
    high: dict[tuple[str, str], float] = defaultdict(float)
    left = list(requests)
    for is_service in serve:
        if is_service and flow.requests:
            item = sent(flow)
            tenant, cost = item.fairness_id, item.tokens / weights.get(item.fairness_id, 1.0)
            for a, b in itertools.combinations("abc", 2):
                pair = (a, b)
                if not (waiting[a] and waiting[b]):
                    gain[pair] = low[pair] = high[pair] = 0.0
                    continue
                gain[pair] += cost if tenant == a else -cost if tenant == b else 0.0
                low[pair], high[pair] = min(low[pair], gain[pair]), max(high[pair], gain[pair])
                assert high[pair] - low[pair] <= largest[a] + largest[b] + 1e-6
            waiting[tenant] -= 1
        elif left:
            tenant, tokens = left.pop()
            queued(flow, Item(fairness_id=tenant, tokens=tokens))
            waiting[tenant] += 1
        for pair in list(gain):
            if not (waiting[pair[0]] and waiting[pair[1]]):
                gain[pair] = low[pair] = high[pair] = 0.0


def test_a_tenant_that_floods_costs_another_one_request_of_its_own_at_most() -> None:
    flow = FlowControl(WIDE)
    for tenant in ("flood-1", "flood-2"):
        for _ in range(5_000):
            queued(flow, Item(fairness_id=tenant, tokens=900))
    for _ in range(3_000):
        sent(flow)
    small = queued(flow, Item(fairness_id="small", tokens=10))
    before = [item for item in iter(lambda: sent(flow), small)]
    assert set(Counter(i.fairness_id for i in before).values()) <= {1}


def test_idle_time_is_not_saved_up() -> None:
    flow = FlowControl(WIDE)
    queued(flow, Item(fairness_id="a"))
    queued(flow, Item(fairness_id="b"))
    queued(flow, Item(fairness_id="b"))
    for _ in range(2):
        sent(flow)
    # "a" was away while "b" got a thousand requests' worth.
    for _ in range(1_000):
        queued(flow, Item(fairness_id="b"))
    for _ in range(1_000):
        sent(flow)
    for _ in range(100):
        queued(flow, Item(fairness_id="a"))
        queued(flow, Item(fairness_id="b"))
    assert Counter(sent(flow).fairness_id for _ in range(20))["a"] <= 11


def test_weights_divide_the_tokens() -> None:
    flow = FlowControl(FlowSettings(weights={"gold": 3.0}, ttl_s=1e6))
    for _ in range(400):
        queued(flow, Item(fairness_id="gold", tokens=10))
        queued(flow, Item(fairness_id="iron", tokens=10))
    first = Counter(sent(flow).fairness_id for _ in range(200))
    assert first["gold"] == pytest.approx(150, abs=2)


def test_long_requests_get_fewer_turns_than_short_ones() -> None:
    flow = FlowControl(WIDE)
    for _ in range(200):
        queued(flow, Item(fairness_id="long", tokens=1_000))
        queued(flow, Item(fairness_id="short", tokens=100))
    first = Counter(sent(flow).fairness_id for _ in range(110))
    assert first["short"] == pytest.approx(100, abs=1)


def test_a_request_that_cost_more_than_it_was_charged_is_paid_later() -> None:
    flow = FlowControl(WIDE)
    for _ in range(50):
        queued(flow, Item(fairness_id="a", tokens=10))
        queued(flow, Item(fairness_id="b", tokens=10))
    assert {sent(flow).fairness_id for _ in range(2)} == {"a", "b"}
    flow.settle(0, "a", 100.0)
    assert [sent(flow).fairness_id for _ in range(10)] == ["b"] * 10
    flow.settle(0, "nobody", 5.0)
    flow.settle(77, "a", 5.0)


def test_round_robin_takes_one_request_of_each() -> None:
    flow = FlowControl(FlowSettings(fairness=Fairness.ROUND_ROBIN, ttl_s=1e6))
    for tenant, tokens in (("a", 1_000.0), ("b", 1.0), ("c", 50.0)):
        for _ in range(3):
            queued(flow, Item(fairness_id=tenant, tokens=tokens))
    assert [sent(flow).fairness_id for _ in range(9)] == list("abcabcabc")


def test_global_strict_knows_no_tenants() -> None:
    flow = FlowControl(FlowSettings(fairness=Fairness.GLOBAL_STRICT, ttl_s=1e6))
    for tenant, deadline_s in (("a", 9.0), ("a", 2.0), ("b", 5.0), ("a", 1.0)):
        queued(flow, Item(fairness_id=tenant, deadline_s=deadline_s))
    assert [sent(flow).deadline_s for _ in range(4)] == [1.0, 2.0, 5.0, 9.0]


@pytest.mark.parametrize("fairness", list(Fairness))
def test_tenants_without_requests_are_forgotten(fairness: Fairness) -> None:
    flow = FlowControl(FlowSettings(fairness=fairness, band_limits=WIDE.band_limits, ttl_s=1e6))
    queued(flow, Item(fairness_id="stays", tokens=1e9))
    queued(flow, Item(fairness_id="stays", tokens=1e9))
    for n in range(30_000):
        item = queued(flow, Item(fairness_id=f"passing-{n}", tokens=1e6))
        if n % 2:
            flow.abandon(item)
        else:
            sent(flow)
    band = flow._bands[0]
    assert len(band._tenants) < 12_000
    assert len(band._heaviest) < 50_000
    assert len(flow._expiries) < 1_000
