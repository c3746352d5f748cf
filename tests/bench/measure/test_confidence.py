"""Intervals against exact probabilities, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from fairlead.bench.config.judging import Objective
from fairlead.bench.measure.confidence import design_effect, ranks, wilson
from fairlead.bench.measure.goodput import judge_goodput
from fairlead.bench.summary import PERCENTILES


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PERCENTILES), st.integers(1, 20_000))
def test_ranks_are_the_narrowest_with_the_stated_confidence(percent: float, count: int) -> None:
    share, found = percent / 100, ranks(percent, count)
    if found is None:
        # Not even the least and the greatest value enclose it.
        assert binom.cdf(0, count, share) > 0.025 or binom.cdf(count - 1, count, share) < 0.975
        return
    low, high = found
    assert binom.cdf(low - 1, count, share) <= 0.025 + 1e-9
    assert binom.sf(high - 1, count, share) <= 0.025 + 1e-9
    assert binom.cdf(low, count, share) > 0.025 - 1e-9
    assert binom.sf(high - 2, count, share) > 0.025 - 1e-9


def test_a_percentile_that_so_few_cannot_tell_has_no_interval() -> None:
    assert ranks(99.9, 1000) is None
    assert ranks(99.0, 100) is None
    assert ranks(50.0, 5) is None
    assert ranks(50.0, 6) == (1, 6)
    assert ranks(99.9, 10_000) is not None


@settings(deadline=None)
@given(st.integers(1, 5000), st.data())
def test_wilson_is_the_published_interval(count: int, data: st.DataObject) -> None:
    good = data.draw(st.integers(0, count))
    found, known = wilson(good, count), binomtest(good, count).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)


def test_a_share_of_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        wilson(0, 0)


@pytest.mark.parametrize(("good", "kept"), [(990, True), (950, None), (900, False)])
def test_goodput_is_kept_failed_or_undecided(good: int, kept: bool | None) -> None:
    found = judge_goodput(good, good * 10.0, 1000, 20.0, Objective(ttft_ms=100, attainment=0.95))
    assert found is not None
    assert found.kept is kept
    assert (found.attainment, found.requests_per_s) == (good / 1000, good / 20)
    # Requests that depend on each other tell less.
    few = judge_goodput(good, 0.0, 1000, 20.0, Objective(attainment=0.95), effect=100.0)
    assert few is not None
    assert few.kept in (None, kept) and few.interval.low < found.interval.low


def test_nothing_judged_is_no_goodput() -> None:
    assert judge_goodput(0, 0.0, 0, 10.0, Objective(ttft_ms=1)) is None


def test_dependence_shows_and_independence_does_not() -> None:
    random = np.random.default_rng(3)
    slices, each = 200, 50
    alone = random.exponential(1.0, (slices, each))
    ones = np.full(slices, float(each))
    assert design_effect(ones, alone.sum(axis=1), float(alone.var())) < 2.5
    # A level that wanders, common to all of a slice.
    wander = np.cumsum(random.normal(0, 0.3, slices))[:, None]
    together = alone + wander - wander.min()
    assert design_effect(ones, together.sum(axis=1), float(together.var())) > 20
    same = np.full((slices, each), 0.1)
    assert design_effect(ones, same.sum(axis=1), 1e-34) == 1.0
