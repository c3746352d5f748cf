"""The sequential test of failures, where they are rare, where they are many, and where they come in bursts."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.analysis.error_rate import burstiness, rates, weigh_errors
from fairlead.serving.analysis.evidence import Batch
from fairlead.serving.analysis.sums import Counts

POINT = 0.01
TWENTY = math.log(20)


def _batch(n, k, m, j):
    return Batch(Counts(n, k), Counts(m, j))


def test_none_out_of_three_hundred_is_within_a_point():
    weighed = weigh_errors([_batch(30, 0, 300, 0)] * 10, POINT)
    assert weighed.as_good == pytest.approx(300 * -math.log(1 - POINT), rel=0.1)
    assert weighed.worse < 0


def test_none_out_of_fifty_is_not_known_to_be():
    assert weigh_errors([_batch(50, 0, 10_000, 0)], POINT).as_good < TWENTY


def test_one_failure_is_no_proof_though_the_stable_version_has_had_none():
    assert weigh_errors([_batch(50, 0, 1000, 0), _batch(50, 1, 1000, 0)], POINT).worse < TWENTY


def test_a_version_that_answers_nothing_is_found_out_at_once():
    assert weigh_errors([_batch(3, 3, 30, 0)] * 2, POINT).worse > math.log(80)


def test_failures_that_both_have_prove_nothing():
    weighed = weigh_errors([_batch(100, 20, 100, 20)] * 20, POINT)
    assert weighed.worse < TWENTY
    assert weigh_errors([_batch(1000, 200, 1000, 200)] * 60, 0.05).as_good > TWENTY


def test_an_engine_that_breaks_once_is_one_event_however_many_requests_it_had():
    calm = [_batch(30, 0, 100, 0)] * 15
    broke = [*calm, _batch(30, 12, 100, 0), *calm]
    spread = [*[_batch(30, 1, 100, 0)] * 12, *calm, *[_batch(30, 0, 100, 0)] * 4]
    assert burstiness(broke) > 8
    assert weigh_errors(broke, POINT).worse < TWENTY < weigh_errors(spread, POINT).worse


def test_the_difference_comes_with_an_error_that_is_never_nothing():
    found = rates([_batch(50, 0, 500, 0)])
    assert (found.difference, found.new, found.stable) == (0.0, 50, 500)
    assert 0.01 < found.error < 0.05
    assert rates([]).difference == 0.0


def test_few_batches_or_no_failures_show_no_bursts():
    assert burstiness([]) == 1.0
    assert burstiness([_batch(10, 0, 10, 0)] * 20) == 1.0
    assert burstiness([_batch(10, 10, 10, 0)] * 20) == 1.0


@pytest.mark.parametrize("rate", [0.0005, 0.01, 0.05])
def test_looked_at_after_every_batch_it_errs_as_seldom_as_stated(rate):
    """300 comparisons each of equal versions and of ones that are off by the margin."""
    draw = random.Random(round(rate * 1e6))
    margin = 0.02
    alarms = missed = undecided = 0
    for _ in range(150):
        for excess in (0.0, margin):
            batches: list[Batch] = []
            for _ in range(60):
                k = sum(draw.random() < rate + excess for _ in range(40))
                j = sum(draw.random() < rate for _ in range(40))
                batches.append(_batch(40, k, 40, j))
            decided = ""
            for end in range(2, 61, 2):
                weighed = weigh_errors(batches[:end], margin)
                if weighed.worse >= TWENTY or weighed.as_good >= TWENTY:
                    decided = "worse" if weighed.worse >= TWENTY else "as good"
                    break
            alarms += excess == 0.0 and decided == "worse"
            missed += excess > 0.0 and decided == "as good"
            undecided += not decided
    # 5 % of 150 are 7.5; more than 17 would happen in one of a thousand tests.
    assert alarms <= 17
    assert missed <= 17
    assert undecided <= (20 if rate < 0.05 else 300)


_side = st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(st.lists(st.tuples(_side, _side), max_size=20), st.floats(1e-4, 0.9))
def test_any_counts_give_finite_evidence_for_one_verdict_at_most(sides, margin):
    weighed = weigh_errors([_batch(*new, *stable) for new, stable in sides], margin)
    assert math.isfinite(weighed.worse) and math.isfinite(weighed.as_good)
    assert min(weighed) < TWENTY
