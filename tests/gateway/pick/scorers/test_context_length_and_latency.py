"""Scorers by context length and by headroom to objectives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import Candidate, Context, Query, Speed
from fairlead.gateway.pick.scorers.context_length import (
    ContextLengthParameters,
    context_length,
    context_length_filter,
    parse_range,
)
from fairlead.gateway.pick.scorers.latency import LatencyParameters, latency

LABEL = ContextLengthParameters().label


def ranged(tokens, *ranges):
    candidates = [Candidate(f"e{i}", labels={} if r is None else {LABEL: r}) for i, r in enumerate(ranges)]
    return Context(Query("m", prompt_tokens=tokens), candidates, [0] * len(candidates))


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("0-2048", (0, 2048)),
        (" 1 - 2 ", (1, 2)),
        ("7-7", (7, 7)),
        ("9-1", None),
        ("5", None),
        ("a-b", None),
        ("", None),
    ],
)
def test_ranges_are_read(text, bounds):
    assert parse_range(text) == bounds


def test_ranges_that_fit_score_above_those_that_do_not():
    score = context_length(ContextLengthParameters())
    narrow, wide, short, none, damaged = score(ranged(1500, "0-2000", "0-100000", "0-1000", None, "x"))
    assert narrow > wide > 0.3 > short > damaged == 0.0
    assert none == 0.5
    assert score(ranged(7, "7-7")) == [1.0]
    assert score(ranged(2000, "0-1000")) == [pytest.approx(0.15)]


def test_filtering_drops_ranges_that_do_not_fit_only_when_asked_to():
    context = ranged(1500, "0-2000", "0-1000", None, "x")
    assert context_length_filter(ContextLengthParameters())(context) is None
    assert context_length_filter(ContextLengthParameters(enable_filtering=True))(context) == [0, 2]


def timed(*times, in_flight=1, **query):
    candidates = [
        Candidate(f"e{i}", in_flight, 0, speed=Speed(ttft, 0.0, itl, 0.0)) for i, (ttft, itl) in enumerate(times)
    ]
    return Context(Query("m", **query), candidates, [0] * len(candidates))


def ranking(scores):
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def test_without_objectives_the_least_prediction_is_best():
    assert ranking(latency(LatencyParameters())(timed((0.9, 0.03), (0.1, 0.01), (0.5, 0.02)))) == [1, 2, 0]


def test_those_that_keep_objectives_come_first_least_early_or_earliest():
    context = timed((0.9, 0.03), (0.1, 0.01), (2.0, 0.02), ttft_slo_s=1.0, itl_slo_s=0.05)
    packed = latency(LatencyParameters())(context)
    assert ranking(packed) == [0, 1, 2]
    assert packed[2] == 0.0
    assert ranking(latency(LatencyParameters(headroom_selection_strategy="most"))(context)) == [1, 0, 2]


def test_when_nobody_keeps_them_idle_ones_and_then_the_lesser_misses_come_first():
    late = timed((2.0, 0.02), (0.5, 0.09), (2.0, 0.09), ttft_slo_s=1.0, itl_slo_s=0.05)
    assert latency(LatencyParameters())(late)[1] > 0.0
    assert latency(LatencyParameters())(late)[0::2] == [0.0, 0.0]
    late.candidates[2].in_flight = 0
    assert ranking(latency(LatencyParameters())(late))[0] == 2


def test_before_anything_was_learned_load_and_prefix_decide():
    candidates = [
        Candidate("a", kv_cache_usage_ratio=0.9, waiting=9),
        Candidate("b", kv_cache_usage_ratio=0.1, waiting=0),
    ]
    context = Context(Query("m", prompt_tokens=100), candidates, [0, 0])
    assert latency(LatencyParameters())(context) == pytest.approx([0.1 / 3, 1.9 / 3])
    only_prefix = LatencyParameters(composite_kv_weight=0.0, composite_queue_weight=0.0)
    assert latency(only_prefix)(Context(context.query, candidates, [100, 0])) == [1.0, 0.0]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=8),
    st.none() | st.floats(0, 50),
    st.none() | st.floats(0, 1),
    st.sampled_from(["least", "most"]),
)
def test_scores_are_between_0_and_1_and_somebody_has_one(times, ttft_slo_s, itl_slo_s, strategy):
    scores = latency(LatencyParameters(headroom_selection_strategy=strategy))(
        timed(*times, ttft_slo_s=ttft_slo_s, itl_slo_s=itl_slo_s)
    )
    assert all(0.0 <= s <= 1.0 for s in scores)
    assert max(scores) > 0.0
