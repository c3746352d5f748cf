"""The sequential test of a difference: its evidence is a likelihood ratio, and what it takes follows from the
margin."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.analysis.estimate import Estimate
from fairlead.serving.analysis.sequential import expected_requests, weigh

MARGIN = math.log1p(0.03)


def _found(difference, error, freedom=1e6):
    return Estimate(difference, error * error, freedom, 1000, 1000, 1.0)


def test_halfway_to_the_margin_nothing_is_decided():
    weighed = weigh(_found(MARGIN / 2, MARGIN / 4), MARGIN)
    assert max(weighed) < math.log(20)


@pytest.mark.parametrize("sign", [1, -1])
def test_length_may_stray_in_neither_direction(sign):
    off = _found(sign * 2 * MARGIN, MARGIN / 4)
    assert weigh(off, MARGIN, either_direction=True).worse > math.log(100)
    assert weigh(off, MARGIN, either_direction=True).as_good < 0
    same = weigh(_found(0.0, MARGIN / 5), MARGIN, either_direction=True)
    assert same.as_good > math.log(20) > same.worse


def test_better_is_as_good():
    weighed = weigh(_found(-10 * MARGIN, MARGIN), MARGIN)
    assert weighed.as_good > math.log(100)
    assert weighed.worse < 0


def test_a_version_that_is_far_off_is_found_out_by_few_requests():
    assert weigh(_found(0.7, 0.08, 9), MARGIN).worse > math.log(80)


def test_a_variance_from_few_batches_weighs_less():
    assert weigh(_found(MARGIN, MARGIN / 4, 7), MARGIN).worse < weigh(_found(MARGIN, MARGIN / 4), MARGIN).worse


@given(st.floats(-3, 3), st.floats(1e-3, 3), st.floats(2, 1e4), st.floats(1e-3, 1), st.booleans())
def test_both_verdicts_are_never_reached_at_once(difference, error, freedom, margin, either):
    weighed = weigh(_found(difference, error, freedom), margin, either_direction=either)
    assert math.isfinite(weighed.worse) and math.isfinite(weighed.as_good)
    assert min(weighed) < math.log(2)


def test_looked_at_after_every_request_it_errs_as_seldom_as_stated():
    """Ville's inequality, measured: 1,000 walks of 2,000 looks without a difference, and with the margin."""
    draw, alarms, missed = random.Random(1), 0, 0
    for _ in range(400):
        for truth in (0.0, 1.0):
            total = 0.0
            for n in range(1, 2000):
                total += draw.gauss(truth, 6.0)
                if n % 5:
                    continue
                weighed = weigh(_found(total / n, 6.0 / math.sqrt(n)), 1.0)
                if weighed.worse >= math.log(20):
                    alarms += truth == 0.0
                    break
                if weighed.as_good >= math.log(20):
                    missed += truth == 1.0
                    break
    # 5 % of 400 are 20; more than 33 would happen in one of a thousand tests.
    assert alarms <= 33
    assert missed <= 33


def test_what_it_takes_grows_with_the_square_of_the_spread_over_the_margin():
    one = expected_requests(0.5, 0.03, wrong=0.05, new_share=0.5)
    assert expected_requests(1.0, 0.03, wrong=0.05, new_share=0.5) == pytest.approx(4 * one)
    assert expected_requests(0.5, 0.015, wrong=0.05, new_share=0.5) == pytest.approx(4 * one)
    assert expected_requests(0.5, 0.03, wrong=0.05, new_share=0.05) == pytest.approx(one * 0.5 / 0.95)
    assert expected_requests(0.5, 0.03, wrong=0.05, new_share=0.5, design_effect=3.0) == pytest.approx(3 * one)
