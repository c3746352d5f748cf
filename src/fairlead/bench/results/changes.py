"""The figures of two stages against each other: what each was, what it is, and whether by more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fairlead.bench.measure.confidence import design_effect
from fairlead.bench.results.grid import Grid
from fairlead.bench.results.significance import (
    TOO_FEW,
    Test,
    of_blocks,
    of_intervals,
    of_rates,
    of_shares,
)
from fairlead.bench.summary import Metrics

Unit = Literal["s", "1/s", "tokens/s", "share", "users"]
"""Of a figure; the change of a share is in points, of all else relative."""

LATENCIES = (
    ("ttft_from_due", 50.0), ("ttft_from_due", 99.0), ("ttft", 50.0), ("ttft", 99.0), ("itl", 50.0), ("itl", 99.0),
    ("tpot", 50.0), ("tpot", 99.0), ("e2e", 50.0), ("e2e", 99.0),
)  # fmt: skip
RATES: tuple[tuple[str, Unit, str, str], ...] = (
    ("requests/s", "1/s", "requests_per_s", "whole"),
    ("output tokens/s", "tokens/s", "output_tokens_per_s", "tokens"),
)
"""Figure, unit, field of the metrics, and of the grid what it counts."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both runs. `stage` is empty for what is of the whole run."""

    stage: str
    name: str
    unit: Unit
    base: float
    other: float
    more_is_better: bool
    test: Test


def changes(
    stage: str, one: Metrics, two: Metrics, base: Grid | None, other: Grid | None, same_objective: bool
) -> list[Figure]:
    """`base`, `other`: the stage's records, where both runs have them."""
    both = (base, other) if base is not None and other is not None else None
    found = _latencies(stage, one, two, both) + _rates(stage, one, two, both)
    if one.requests and two.requests:
        failed = of_shares(
            (one.requests - one.whole, one.requests), (two.requests - two.whole, two.requests), _effects(both, "whole")
        )
        if failed is not None:
            values = 1 - one.whole / one.requests, 1 - two.whole / two.requests
            found.append(Figure(stage, "failed", "share", *values, False, failed))
    if same_objective and one.goodput is not None and two.goodput is not None:
        a, b = one.goodput, two.goodput
        good = of_shares((a.good, a.judged), (b.good, b.judged), _effects(both, "good"))
        if good is not None:
            found.append(Figure(stage, "attainment", "share", a.attainment, b.attainment, True, good))
    return found


def _latencies(stage: str, one: Metrics, two: Metrics, both: tuple[Grid, Grid] | None) -> list[Figure]:
    found = []
    for metric, percentile in LATENCIES:
        left, right = getattr(one, metric), getattr(two, metric)
        if left is None or right is None:
            continue
        test = of_intervals(percentile, left, right)
        if test is None:
            continue
        if both is not None and test.basis != TOO_FEW:
            test = of_blocks(metric, percentile / 100, *both) or test
        values = left.percentiles[percentile], right.percentiles[percentile]
        found.append(Figure(stage, f"{metric} p{percentile:g}", "s", *values, False, test))
    for metric in dict.fromkeys(metric for metric, _ in LATENCIES):
        left, right = getattr(one, metric), getattr(two, metric)
        if left is None or right is None or (left.percentiles and right.percentiles):
            continue
        # Another tool may say no more than the mean.
        if left.mean > 0 and right.mean > 0:
            test = Test(right.mean / left.mean - 1, None, None, None, None, "means alone")
            found.append(Figure(stage, f"{metric} mean", "s", left.mean, right.mean, False, test))
    return found


def _rates(stage: str, one: Metrics, two: Metrics, both: tuple[Grid, Grid] | None) -> list[Figure]:
    found = []
    for name, unit, field, counts in RATES:
        left, right = getattr(one, field), getattr(two, field)
        if not (left > 0 and right > 0):
            continue
        test = None
        if both is not None:
            base, other = both
            test = of_rates(getattr(base, counts) / base.block_s, getattr(other, counts) / other.block_s)
        test = test or Test(right / left - 1, None, None, None, None, "no records")
        found.append(Figure(stage, name, unit, left, right, True, test))
    return found


def _effects(both: tuple[Grid, Grid] | None, field: str) -> tuple[float, float]:
    """How many requests of each run tell as much as an independent one."""
    if both is None:
        return 1.0, 1.0
    found = []
    for grid in both:
        counts, sums = grid.requests.astype(np.float64), getattr(grid, field).astype(np.float64)
        share = sums.sum() / max(1.0, counts.sum())
        found.append(design_effect(counts, sums, share * (1 - share)))
    return found[0], found[1]
