"""Scorers of engine reports: their values, and what unknown reports do to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import Candidate, Context, Query
from fairlead.gateway.pick.scorers.engine_load import (
    LoadAwareParameters,
    load_aware,
    score_kv_cache,
    score_queue,
    score_running,
)


def context(*candidates):
    return Context(Query("m"), list(candidates), [0] * len(candidates))


def waiting(*counts):
    return context(*[Candidate(f"e{i}", waiting=n) for i, n in enumerate(counts)])


@pytest.mark.parametrize(
    ("counts", "scores"),
    [
        ((10, 5, 0), [0.0, 0.5, 1.0]),
        ((7, 7), [1.0, 1.0]),
        ((0, 0, 0), [1.0, 1.0, 1.0]),
        ((0, 100), [1.0, 0.0]),
        ((3,), [1.0]),
        ((None, None), [1.0, 1.0]),
        ((0, None, 10), [1.0, 0.5, 0.0]),
        ((4, None), [1.0, 1.0]),
    ],
)
def test_the_queue_is_scored_between_the_shortest_and_the_longest(counts, scores):
    assert score_queue(waiting(*counts)) == scores


def test_the_batch_is_scored_like_the_queue():
    assert score_running(context(*[Candidate(f"e{i}", running=n) for i, n in enumerate((8, 2, None))])) == [0, 1, 0.5]


@pytest.mark.parametrize(
    ("usage", "scores"),
    [((0.8, 0.5, 0.0), [0.2, 0.5, 1.0]), ((1.0, None, 0.5), [0.0, 0.25, 0.5]), ((None,), [1.0])],
)
def test_the_free_part_of_the_cache_is_the_score(usage, scores):
    candidates = [Candidate(f"e{i}", kv_cache_usage_ratio=u) for i, u in enumerate(usage)]
    assert score_kv_cache(context(*candidates)) == pytest.approx(scores)


@pytest.mark.parametrize(
    ("threshold", "counts", "scores"),
    [
        (10, (0, 2, 5, 15), [0.5, 0.4, 0.25, 0.0]),
        (128, (0, 64, None), [0.5, 0.25, 0.375]),
        (0, (128, 64), [0.0, 0.25]),
        (-3, (None,), [0.5]),
    ],
)
def test_an_empty_queue_scores_half_and_a_full_one_nothing(threshold, counts, scores):
    assert load_aware(LoadAwareParameters(threshold=threshold))(waiting(*counts)) == pytest.approx(scores)


@given(st.lists(st.none() | st.integers(0, 10_000), min_size=1, max_size=20))
def test_an_unknown_queue_is_worth_the_mean_of_the_known(counts):
    scores = score_queue(waiting(*counts))
    known = [s for s, n in zip(scores, counts, strict=True) if n is not None]
    assert all(0.0 <= s <= 1.0 for s in scores)
    for score, count in zip(scores, counts, strict=True):
        if count is None and known:
            assert score == pytest.approx(sum(known) / len(known))
