"""Is a difference more than chance, and how small a one could have been seen? One test a function, with its source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fairlead.bench.results.grid import Grid, percentiles
from fairlead.bench.results.memory import merged, times_longer
from fairlead.bench.summary import Distribution

ALPHA, POWER = 0.05, 0.8
TOO_FEW = "too few requests"
"""The basis of what is no estimate at all: it happened, and says nothing of what will."""
TOO_SHORT = "stages too short for the server's queue"
"""The basis of what blocks cannot tell: they depend on each other however long they are made."""
DRAWS, TELLING_HITS = 2000, 10
LEAST_BLOCKS = 6
MIN_BLOCK_REQUESTS = 8
MIN_BEYOND = 5
"""So many values beyond a percentile make it an estimate, and not one value that happened."""
RESOLUTION = 0.005 * math.sqrt(2 / 12)
"""Values are known to half a per cent (bins of grids, sketches of summaries): the least error of two's difference."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Test:
    """`change` is relative (0.1: a tenth more); `low`…`high` its interval of 95 %; `p` of no change at all; `seen` the
    least change that would be found in 4 of 5 cases. `basis`: what the spread was learnt from."""

    change: float
    low: float | None
    high: float | None
    p: float | None
    seen: float | None
    basis: str


def of_blocks(metric: str, share: float, base: Grid, other: Grid) -> Test | None:
    """A percentile, from how many values of each block of time are beyond the percentile of both runs together.

    p: blocks change sides at random, by Student's ratio of the difference (Chung & Romano, Annals of Statistics 41(2),
    2013), so that a few bad moments that hold all slow requests are not taken for a rule. Interval: of the share beyond
    (blocks as clusters: Cochran, Sampling Techniques, 3rd ed., 9A), read off the distribution (Woodruff, JASA 47,
    1952). Blocks that depend on their neighbours are merged before; None where there are too few requests in them.
    """
    sides = [grid.counts[metric].astype(np.float64) for grid in (base, other)]
    longer = times_longer(*sides)
    for side in sides:
        filled = side.sum(axis=1) >= MIN_BLOCK_REQUESTS / (longer or 1)
        if filled.sum() < LEAST_BLOCKS or filled.sum() < 0.8 * len(side):
            return None
    middles = [float(percentiles(side.sum(axis=0, keepdims=True), [share])[0, 0]) for side in sides]
    if longer is None:
        return Test(middles[1] / middles[0] - 1, None, None, None, None, TOO_SHORT)
    sides = [merged(side, longer) for side in sides]
    # Where both runs together have their percentile, and what each block has beyond it.
    pooled = np.cumsum(sum(side.sum(axis=0) for side in sides))
    bound = int(np.searchsorted(pooled, share * pooled[-1] - 1e-9))
    beyond = [side[:, bound + 1 :].sum(axis=1) for side in sides]
    counts = [side.sum(axis=1) for side in sides]
    p = _by_exchange(beyond, counts)
    errors = [_error_of_log(side, share) for side in sides]
    blocks = sum(len(side) for side in sides)
    error = max(RESOLUTION, math.hypot(*errors))
    return _of_logs(math.log(middles[1] / middles[0]), error, blocks - 2, f"{blocks} blocks of requests", p)


def _by_exchange(values: list[Floats], counts: list[Floats]) -> float:
    """Of blocks of two sides, each with a count and how many of them are so: the share of exchanges of blocks that make
    as great a difference of shares. Where hardly any of those drawn do, what Student's ratio itself says, and not less
    than the one arrangement in all of them that this is."""
    from scipy.stats import t

    all_values, all_counts, first = np.concatenate(values), np.concatenate(counts), len(values[0])
    ratios = np.abs(_ratios(all_values, all_counts, first))
    hits = int((ratios >= ratios[0] * (1 - 1e-9)).sum())
    drawn = hits / len(ratios)
    if hits > TELLING_HITS or not math.isfinite(drawn):
        return drawn
    tail = 2 * float(t.sf(float(ratios[0]), len(all_values) - 2))
    return max(2 / math.comb(len(all_values), first), min(drawn, tail))


def _ratios(values: Floats, counts: Floats, first: int) -> Floats:
    """Student's, of each exchange: the share of the blocks that came to the first side against that of the others."""
    moments = np.stack([values, counts, values * values, values * counts, counts * counts], axis=1)
    one = _sides(len(values), first) @ moments
    shares, errors = [], []
    for of, blocks in ((one, first), (moments.sum(axis=0) - one, len(values) - first)):
        v, n, vv, vn, nn = of.T
        share = v / n
        # Sum of squares of v − share · n, which rounding must not make more than it is where it is nought.
        off = vv - 2 * share * vn + share * share * nn
        errors.append(np.where(off > 1e-10 * (vv + nn), blocks / (blocks - 1) * off / (n * n), 0.0))
        shares.append(share)
    difference = shares[0] - shares[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = difference / np.sqrt(errors[0] + errors[1])
    return np.where(np.abs(difference) < 1e-12, 0.0, found)


@lru_cache(maxsize=8)
def _sides(blocks: int, first: int) -> Floats:
    """Draws × blocks: 1 for those of the first side. The first draw is as it was."""
    rng = np.random.default_rng((blocks, first))
    made = rng.permuted(np.tile(np.arange(blocks) < first, (DRAWS, 1)), axis=1)
    made[0] = np.arange(blocks) < first
    return made.astype(np.float64)


def _error_of_log(blocks: Floats, share: float) -> float:
    """Of the logarithm of a percentile: from the error of the share beyond it, by how far apart values are
    there."""
    total = blocks.sum(axis=0)
    bound = int(np.searchsorted(np.cumsum(total), share * total.sum() - 1e-9))
    counts, below = blocks.sum(axis=1), blocks[:, : bound + 1].sum(axis=1)
    off = below - below.sum() / counts.sum() * counts
    number = len(blocks)
    error = math.sqrt(number / (number - 1) * float(np.square(off).sum())) / float(counts.sum())
    # Not less than of independent values, and not beyond either end.
    error = max(error, math.sqrt(share * (1 - share) / float(counts.sum())))
    ends = [max(0.5 / float(counts.sum()), share - error), min(1 - 0.5 / float(counts.sum()), share + error)]
    low, high = percentiles(total[None, :], ends)[0]
    return math.log(high / low) * error / (ends[1] - ends[0])


def of_rates(base: Floats, other: Floats) -> Test | None:
    """Ratio of means of blocks of time (per second of each); delta method for logarithms, Welch's t."""
    if min(len(base), len(other)) < LEAST_BLOCKS or min(np.mean(base), np.mean(other)) <= 0:
        return None
    terms = [float(np.var(v, ddof=1)) / len(v) / float(np.mean(v)) ** 2 for v in (base, other)]
    change = math.log(float(np.mean(other) / np.mean(base)))
    return _of_logs(change, math.sqrt(sum(terms)), len(base) + len(other) - 2, f"{len(base) + len(other)} blocks")


def of_intervals(percentile: float, base: Distribution, other: Distribution) -> Test | None:
    """Where there are no records: from the intervals that the summaries have. None where one has none."""
    if percentile not in base.percentiles or percentile not in other.percentiles:
        return None
    one, two = base.percentiles[percentile], other.percentiles[percentile]
    if one <= 0 or two <= 0:
        return None
    if min(base.count, other.count) * (1 - percentile / 100) < MIN_BEYOND:
        return Test(two / one - 1, None, None, None, None, TOO_FEW)
    variance = 0.0
    for of in (base, other):
        interval = of.intervals.get(percentile)
        if interval is None or not 0 < interval.low <= interval.high < math.inf:
            # A run that gives intervals to others and not to this one has too little for it.
            return Test(two / one - 1, None, None, None, None, TOO_FEW if of.intervals else "no intervals")
        variance += (math.log(interval.high / interval.low) / (2 * 1.96)) ** 2
    return _of_logs(math.log(two / one), math.sqrt(variance), 1000, "the runs' own intervals")


def of_shares(base: tuple[int, int], other: tuple[int, int], effects: tuple[float, float] = (1.0, 1.0)) -> Test | None:
    """Difference of shares in points (0.01: one in a hundred more), as (of them, of how many): Fisher's exact test, and
    Newcombe's interval 10 (Statistics in Medicine 17, 1998). `effects`: how many requests of each tell as much as one
    that is independent (`measure.confidence.design_effect`): failures come together."""
    from scipy.stats import fisher_exact, norm

    (a, n), (b, m) = base, other
    if not n or not m:
        return None
    one, two = a / n, b / m
    told = [max(1, round(count / max(1.0, effect))) for count, effect in zip((n, m), effects, strict=True)]
    hits = [round(share * count) for share, count in zip((one, two), told, strict=True)]
    p = float(fisher_exact([[h, t - h] for h, t in zip(hits, told, strict=True)])[1])
    (low_1, high_1), (low_2, high_2) = (
        _wilson(share * count, count) for share, count in zip((one, two), told, strict=True)
    )
    low = two - one - math.hypot(two - low_2, high_1 - one)
    high = two - one + math.hypot(high_2 - two, one - low_1)
    pooled = (sum(hits) + 1) / (sum(told) + 2)
    spread = math.sqrt(pooled * (1 - pooled) * sum(1 / count for count in told))
    seen = float(norm.ppf(1 - ALPHA / 2) + norm.ppf(POWER)) * spread
    basis = f"{n} and {m} requests"
    if max(effects) > 1.05:
        basis += f" that tell as much as {told[0]} and {told[1]}"
    return Test(two - one, low, high, p, seen, basis)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """As many tests make chance findings: p values so that all of them together err in 5 % of cases (Holm, Scandinavian
    Journal of Statistics 6(2), 1979). None, not tested, stays None."""
    order = sorted((p, k) for k, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    greatest = 0.0
    for rank, (p, k) in enumerate(order):
        greatest = max(greatest, min(1.0, p * (len(order) - rank)))
        corrected[k] = greatest
    return corrected


def _of_logs(change: float, error: float, freedom: int, basis: str, p: float | None = None) -> Test:
    """`p` None: by Student's t, too."""
    from scipy.stats import t

    error = max(error, RESOLUTION)
    bound = float(t.ppf(1 - ALPHA / 2, freedom))
    if p is None:
        p = 2 * float(t.sf(abs(change) / error, freedom))
    seen = math.expm1((bound + float(t.ppf(POWER, freedom))) * error)
    return Test(
        math.expm1(change), math.expm1(change - bound * error), math.expm1(change + bound * error), p, seen, basis
    )


def _wilson(of: float, n: int) -> tuple[float, float]:
    """Wilson, Journal of the American Statistical Association 22, 1927."""
    z2 = 1.96**2
    middle = (of + z2 / 2) / (n + z2)
    half = 1.96 / (n + z2) * math.sqrt(of * (n - of) / n + z2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)
