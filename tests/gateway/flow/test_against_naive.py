"""The quick structures answer like lists that are searched, in every small case and in many large ones."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.flow import (
    NO_ENDPOINTS,
    Fairness,
    FlowControl,
    FlowSettings,
    Holdback,
    Item,
    Limits,
    Order,
    Outcome,
    Saturation,
)
from gateway.flow.naive_control import Asking, Naive


class Both:
    """Asks both twins the same, and compares their answers."""

    def __init__(self, flow: FlowSettings) -> None:
        self.quick = FlowControl(flow)
        self.naive = Naive(flow)
        self.items: dict[int, Item] = {}
        self.ends: dict[int, str] = {}
        self.now_s = 100.0

    def do(self, step: tuple[Any, ...]) -> None:
        getattr(self, f"_{step[0]}")(*step[1:])
        assert self.quick.requests == len(self.naive.waiting) == sum(i.waits for i in self.items.values())
        assert self.quick.size_bytes == sum(w.size_bytes for w in self.naive.waiting)
        due = self.quick.next_deadline_s()
        assert due == min((w.expires_s for w in self.naive.waiting), default=None)

    def _offer(
        self, value: float, priority: int, tenant: str, tokens: float, size_bytes: int, due_s: float | None,
        ttl_s: float | None,
    ) -> None:  # fmt: skip
        name = len(self.items)
        deadline_s = None if due_s is None else self.now_s + due_s
        item = self.items[name] = Item(priority, tenant, tokens, size_bytes, deadline_s, ttl_s, payload=name)
        verdict = self.quick.offer(item, self.now_s, _saturation(value))
        asking = Asking(name, priority, tenant, tokens, size_bytes, deadline_s, ttl_s)
        expected = self.naive.offer(asking, self.now_s, value, value < 9)
        found: tuple[Any, ...] = (verdict.outcome.value,)
        if verdict.outcome is Outcome.REJECTED:
            assert verdict.rejection is not None
            found += (verdict.rejection.reason.value,)
            self._end(name, "rejected")
        elif verdict.outcome is Outcome.QUEUED:
            found += (tuple((r.item.payload, r.reason.value) for r in verdict.evicted),)
            for rejection in verdict.evicted:
                self._end(rejection.item.payload, "evicted")
        else:
            self._end(name, "sent")
        assert found == expected

    def _next(self, value: float) -> None:
        self._wait(0.0)
        item = self.quick.next(self.now_s, _saturation(value))
        assert (None if item is None else item.payload) == self.naive.next(self.now_s, value, value < 9)
        if item is not None:
            self._end(item.payload, "sent")

    def _wait(self, duration_s: float) -> None:
        self.now_s += duration_s
        found = [r.item.payload for r in self.quick.expired(self.now_s)]
        assert found == self.naive.expired(self.now_s)
        for name in found:
            self._end(name, "expired")

    def _abandon(self, nth: int) -> None:
        if self.items:
            name = nth % len(self.items)
            found = self.quick.abandon(self.items[name])
            assert found == self.naive.abandon(name)
            if found:
                self._end(name, "abandoned")

    def _end(self, name: int, how: str) -> None:
        assert name not in self.ends, f"request {name} ended twice: {self.ends[name]}, then {how}"
        self.ends[name] = how


def _saturation(value: float) -> Saturation:
    return NO_ENDPOINTS if value >= 9 else Saturation(value, "full")


SMALL = [
    ("offer", 1.0, 0, "a", 2.0, 1, None, None),
    ("offer", 1.0, 0, "b", 1.0, 2, 3.0, None),
    ("offer", 0.95, -1, "a", 1.0, 1, 1.0, None),
    ("offer", 9.0, 5, "b", 1.0, 1, None, 2.0),
    ("next", 0.5),
    ("next", 0.92),
    ("wait", 1.5),
    ("abandon", 1),
]


@pytest.mark.parametrize("fairness", list(Fairness))
def test_every_sequence_of_few_steps(fairness: Fairness) -> None:
    tight = FlowSettings(
        fairness=fairness, order=Order.EDF, ttl_s=2.0, no_endpoints_ttl_s=3.0, band_limits=Limits(2, 4),
        whole_limits=Limits(3, 5), no_endpoints_limits=Limits(2, 3), weights={"b": 2.0},
    )  # fmt: skip
    for steps in itertools.product(SMALL, repeat=4):
        both = Both(tight)
        # A full band to begin with, so that few steps reach the odd cases.
        for step in (SMALL[0], SMALL[2], *steps):
            both.do(step)


steps = st.one_of(
    st.tuples(
        st.just("offer"), st.sampled_from([0.5, 0.92, 1.0, 1.0, 1.0, 9.0]), st.sampled_from([-7, -1, 0, 0, 3]),
        st.sampled_from("aabc"), st.sampled_from([1.0, 2.0, 100.0]), st.integers(0, 9),
        st.one_of(st.none(), st.floats(-1, 5)), st.sampled_from([None, None, 0.0, 0.5, 4.0]),
    ),
    st.tuples(st.just("next"), st.sampled_from([0.3, 0.92, 1.0, 9.0])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.3])),
    st.tuples(st.just("abandon"), st.integers(0, 1000)),
)  # fmt: skip
flow_settings = st.builds(
    FlowSettings, fairness=st.sampled_from(Fairness), order=st.sampled_from(Order),
    ttl_s=st.sampled_from([0.5, 3.0]), no_endpoints_ttl_s=st.sampled_from([0.5, 3.0]),
    band_limits=st.builds(Limits, st.sampled_from([0, 2, 5, 100]), st.sampled_from([10, 40, 10_000])),
    whole_limits=st.builds(Limits, st.sampled_from([3, 7, 100]), st.sampled_from([15, 10_000])),
    no_endpoints_limits=st.builds(Limits, st.sampled_from([1, 4]), st.sampled_from([8, 10_000])),
    holdback=st.one_of(st.none(), st.just(Holdback(0.4))),
    weights=st.sampled_from([{}, {"a": 3.0, "b": 0.5}]),
)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(flow_settings, st.lists(steps, max_size=60))
def test_any_sequence_of_steps(flow: FlowSettings, sequence: list[tuple[Any, ...]]) -> None:
    both = Both(flow)
    for step in sequence:
        both.do(step)
    waiting = {item.payload for item in both.items.values() if item.waits}
    both.quick.reconfigure(FlowSettings(band_limits=Limits(1, 1)), both.now_s)
    assert {item.payload for item in both.items.values() if item.waits} == waiting
    for rejection in both.quick.close(both.now_s):
        both._end(rejection.item.payload, "closed")
    assert set(both.ends) == set(both.items), "every request ended, and each once"
    assert (both.quick.requests, both.quick.size_bytes, both.quick.budget.used_bytes) == (0, 0, 0)
