"""Whether and where to split."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.disaggregation import Split, SplitSettings, Whole, split
from fairlead.gateway.pick import Candidate, Context, NoPick, Pick, Query, Speed
from fairlead.gateway.pick.defaults import default_profile

PROFILE = default_profile()
SPEED = Speed(0.02, 1e-4, 0.01, 2e-4)
PREDICTED = SplitSettings()
HERE = Pick("d:1", (), "")
Decision = Split | Whole | NoPick


def decoding(in_flight: int = 0, **more: Any) -> Candidate:
    return Candidate("d:1", in_flight, others=0, role="decode", speed=SPEED, **more)


def prefilling(name: str = "p:1", **more: Any) -> Candidate:
    return Candidate(name, **{"others": 0, "role": "prefill", "speed": SPEED, **more})


def decided(
    here: Candidate, there: list[Candidate], tokens: int = 4000, cached: int = 0, there_cached: int = 0,
    settings: SplitSettings = PREDICTED, must: bool = False, **query: Any,
) -> Decision:  # fmt: skip
    asked = Query("m", prompt_tokens=tokens, output_tokens=100.0, **query)
    answering = Context(asked, [here], [cached])
    return split(answering, HERE, Context(asked, there, [there_cached] * len(there)), PROFILE, settings, must=must)


def test_a_busy_endpoint_has_prompts_computed_elsewhere_and_an_idle_one_does_not():
    assert isinstance(decided(decoding(30), [prefilling()]), Split)
    assert isinstance(decided(decoding(0), [prefilling()]), Whole)


def test_a_cached_prompt_stays():
    assert isinstance(decided(decoding(30), [prefilling()], cached=4000), Whole)
    assert isinstance(decided(decoding(30), [prefilling()], cached=3990), Whole)


def test_a_prefill_endpoint_with_too_much_to_do_is_left_alone():
    assert isinstance(decided(decoding(5), [prefilling(prefill_backlog_tokens=500_000.0)]), Whole)
    assert isinstance(decided(decoding(5), [prefilling()]), Split)


def test_what_prefill_has_in_its_cache_counts():
    slow = Speed(0.02, 1e-3, 0.01, 2e-4)
    there = prefilling(prefill_backlog_tokens=0.0, speed=slow)
    assert isinstance(decided(decoding(2), [there]), Whole)
    assert isinstance(decided(decoding(2), [there], there_cached=3990), Split)


def test_the_best_prefill_endpoint_is_picked_and_the_others_are_fallbacks():
    there = [prefilling("p:1", prefill_backlog_tokens=9000.0), prefilling("p:2"), prefilling("p:3", reachable=False)]
    found = decided(decoding(30), there)
    assert isinstance(found, Split)
    assert found.prefill.address == "p:2" and "p:1" in found.prefill.fallbacks
    assert set(found.matched) == {found.prefill.address, *found.prefill.fallbacks}


def test_objectives_decide_where_only_one_way_keeps_them():
    there = [prefilling(prefill_backlog_tokens=10_000.0)]
    assert isinstance(decided(decoding(4), there), Split)
    assert isinstance(decided(decoding(4), there, ttft_slo_s=0.6), Whole)
    backlog = decoding(0, prefill_backlog_tokens=1000.0)
    assert isinstance(decided(backlog, [prefilling(speed=Speed(0.02, 1e-5, 0.01, 0.0))], ttft_slo_s=0.2), Split)


@pytest.mark.parametrize(
    ("settings", "tokens", "cached", "splits"),
    [
        (SplitSettings(from_uncached_tokens=512), 512, 0, True),
        (SplitSettings(from_uncached_tokens=512), 511, 0, False),
        (SplitSettings(from_uncached_tokens=512), 2000, 1500, False),
        (SplitSettings(from_uncached_tokens=0), 9000, 0, False),
        (SplitSettings(from_uncached_tokens=100, from_prompt_tokens=1000), 999, 0, False),
        (SplitSettings(from_uncached_tokens=100, from_prompt_tokens=1000), 1000, 0, True),
    ],
)
def test_thresholds(settings, tokens, cached, splits):
    found = decided(decoding(), [prefilling()], tokens, cached, settings=settings)
    assert isinstance(found, Split if splits else Whole), found


def test_without_prefill_endpoints():
    assert isinstance(decided(decoding(30), []), Whole)
    assert isinstance(decided(decoding(30), [], must=True), NoPick)
    assert isinstance(decided(decoding(30), [prefilling("d:1")]), Whole), "not at the endpoint that answers itself"
    assert isinstance(decided(decoding(30), [prefilling(reachable=False)]), Whole)


def test_an_endpoint_that_cannot_compute_prompts_gets_none():
    assert isinstance(decided(decoding(0), [prefilling()], tokens=1, cached=1, must=True), Split)
    assert isinstance(decided(decoding(0), [prefilling()], settings=SplitSettings(0), must=True), Split)


def test_nothing_known_of_speeds_is_no_obstacle():
    assert isinstance(decided(Candidate("d:1", 30, role="decode"), [Candidate("p:1", role="prefill")]), Split)


counts = st.integers(0, 200)
backlogs = st.floats(0, 1e6)


@given(count=counts, more=counts, tokens=st.integers(0, 200_000), backlog=backlogs, there=backlogs)
def test_more_answers_under_way_never_speak_against_splitting(count, more, tokens, backlog, there):
    def at(n: int) -> Decision:
        return decided(decoding(n, prefill_backlog_tokens=backlog), [prefilling(prefill_backlog_tokens=there)], tokens)

    if isinstance(at(count), Split) and tokens * SPEED.prefill_token_s > SPEED.itl_request_s:
        assert isinstance(at(count + more), Split)


@given(count=counts, tokens=st.integers(0, 200_000), cached=st.integers(0, 300_000), must=st.booleans())
def test_every_decision_says_why(count, tokens, cached, must):
    found = decided(decoding(count), [prefilling()], tokens, cached, must=must)
    assert found.reason if isinstance(found, Split | Whole) else found.message
