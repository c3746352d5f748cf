"""Scorers of the prefix cache."""

import msgspec
import pytest

from fairlead.gateway.pick import Candidate, Context, Query
from fairlead.gateway.pick.scorers.prefix import PrefixCacheParameters, prefix_cache, score_no_hit_lru


def held(prompt, *matched, matchable=0):
    candidates = [Candidate(f"e{i}") for i in range(len(matched))]
    return Context(Query("m", prompt_tokens=prompt), candidates, list(matched), matchable_tokens=matchable)


@pytest.mark.parametrize(
    ("prompt", "matched", "matchable", "scores"),
    [
        (100, (0, 50, 100), 0, [0.0, 0.5, 1.0]),
        (100, (64, 0), 64, [1.0, 0.0]),
        (0, (0, 0), 0, [0.0, 0.0]),
        (100, (160,), 0, [1.0]),
    ],
)
def test_the_matched_share_is_the_score(prompt, matched, matchable, scores):
    assert prefix_cache(PrefixCacheParameters())(held(prompt, *matched, matchable=matchable)) == scores


def test_the_square_of_the_matched_length_is_mixed_in_by_its_weight():
    score = prefix_cache(PrefixCacheParameters(match_length_weight=0.5, match_length_scale_tokens=1000))
    assert score(held(1000, 500, 0)) == pytest.approx([0.5 * 0.25 + 0.5 * 0.5, 0.0])
    assert score(held(4000, 2000, 0)) == pytest.approx([0.5 * 1.0 + 0.5 * 0.5, 0.0])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"matchLengthWeight": 1.5}, "matchLengthWeight must be from 0 to 1, got 1.5"),
        ({"matchLengthWeight": 0.5, "matchLengthScaleTokens": 0}, "matchLengthScaleTokens must be above 0, got 0"),
        ({"matchLength": 1}, "unknown field `matchLength`"),
    ],
)
def test_bad_parameters_are_named(given, told):
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(given, PrefixCacheParameters)


def test_a_prompt_that_nobody_holds_goes_where_the_last_such_one_is_longest_ago():
    candidates = [Candidate("a", last_cold_pick=3), Candidate("b"), Candidate("c", last_cold_pick=1)]
    context = Context(Query("m"), candidates, [0, 0, 0])
    assert score_no_hit_lru(context) == [0.0, 1.0, 0.5]


def test_a_hit_leaves_the_choice_to_others():
    context = held(100, 0, 10)
    assert score_no_hit_lru(context) == [0.5, 0.5]
    assert score_no_hit_lru(held(100, 0)) == [1.0]
