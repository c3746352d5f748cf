"""Pickers: best score, ties, and draws in proportion."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import Candidate, Context, Query
from fairlead.gateway.pick.pickers.at_random import draw_in_proportion, random_picker, weighted_random_picker
from fairlead.gateway.pick.pickers.max_score import MaxScoreParameters, PickerParameters, max_score

totals = st.lists(st.floats(0, 7), min_size=1, max_size=30)
draws = st.floats(0, 1, exclude_max=True)


def context(n, draw=0.0, last=()):
    candidates = [Candidate(f"e{i:03d}", last_pick=last[i] if last else 0) for i in range(n)]
    return Context(Query("m"), candidates, [0] * n, draw=draw)


@given(totals, draws, st.integers(-1, 40), st.sampled_from(["longest-wait", "random"]))
def test_the_best_scores_come_first_each_once(given_totals, draw, count, ties):
    pick = max_score(MaxScoreParameters(max_num_of_endpoints=count, ties=ties))
    order = pick(context(len(given_totals), draw), given_totals)
    assert len(order) == len(set(order)) == min(len(given_totals), count if count > 0 else 3)
    values = [given_totals[i] for i in order]
    assert values == pytest.approx(sorted(given_totals, reverse=True)[: len(order)], abs=1e-8)


def test_equal_scores_go_to_the_one_that_waited_longest():
    order = max_score(MaxScoreParameters())(context(4, last=(5, 2, 9, 0)), [1.0, 1.0, 1.0, 0.5])
    assert order == [1, 0, 2]


def test_scores_within_the_tolerance_are_equal():
    pick = max_score(MaxScoreParameters(tie_tolerance=0.1))
    assert pick(context(3, last=(5, 2, 1)), [1.0, 0.95, 0.85]) == [1, 0, 2]


def test_a_burst_of_equal_requests_goes_round():
    last, picked = [0, 0, 0], []
    for turn in range(1, 10):
        best = max_score(MaxScoreParameters())(context(3, last=last), [1.0, 1.0, 1.0])[0]
        last[best] = turn
        picked.append(best)
    assert picked == [0, 1, 2] * 3


def test_random_ties_reach_everybody():
    pick = max_score(MaxScoreParameters(ties="random"))
    assert Counter(pick(context(3, n / 99), [1.0, 0.0, 1.0])[0] for n in range(99)).keys() == {0, 2}


@given(totals, draws, st.integers(0, 40))
def test_draws_give_different_endpoints_and_those_without_weight_last(given_totals, draw, count):
    order = draw_in_proportion(given_totals, draw, count)
    assert len(order) == len(set(order)) == min(count, len(given_totals))
    weighted = sum(t > 0 for t in given_totals)
    assert all(given_totals[i] > 0 for i in order[:weighted])


def test_first_and_second_choices_are_in_proportion():
    pick = weighted_random_picker(PickerParameters())
    n = 10_000
    orders = [pick(context(3, (k + 0.5) / n), [1.0, 3.0, 0.0]) for k in range(n)]
    assert Counter(o[0] for o in orders) == {0: n // 4, 1: 3 * n // 4}
    assert all(o[2] == 2 for o in orders)
    three = [pick(context(3, (k + 0.5) / n), [1.0, 1.0, 2.0])[:2] for k in range(n)]
    assert sum(o == [2, 0] for o in three) == pytest.approx(n / 4, rel=0.01)
    assert sum(o == [0, 2] for o in three) == pytest.approx(n / 4 * 2 / 3, rel=0.01)


def test_the_random_picker_ignores_scores():
    pick = random_picker(PickerParameters(max_num_of_endpoints=1))
    assert Counter(pick(context(4, (k + 0.5) / 400), [9.0, 0.0, 0.0, 0.0])[0] for k in range(400)) == {
        i: 100 for i in range(4)
    }
