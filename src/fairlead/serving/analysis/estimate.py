"""The difference of a measure between two versions, and how sure it is. Pure.

A regression with the batches as blocks: within each batch the mean of y of the new version less the stable one's, both
corrected by one slope each for what their requests' x and z differ in (analysis of covariance), batches weighted by how
much they tell. Requests of a busy engine resemble each other, so that the variance of independent ones is too small; it
is multiplied by the *design effect*, Pearson's chi square of the batches' differences over its degrees of freedom, and
by what the correlation of neighbouring batches adds. What engines of one version differ in, for as long as they live,
no number of requests averages out: it is a variance of its own, over the number of engines.

The correction may itself be wrong, in proportion to what it is and to the square of that, as times are no straight line
in the load: batches in which the engines of one version had much more to do than those of the other say little,
however many requests are in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from fairlead.serving.analysis.evidence import Batch, Engine, Lean
from fairlead.serving.analysis.sums import Mean, Sums

LEAST_BATCHES: Final = 8
"""Fewer do not show how much they vary."""
PRIOR_ENGINES: Final = 6.0
"""Degrees of freedom that the assumption of like engines is worth: two or three of them do not show the contrary."""
LEAST_LONG_BATCHES: Final = 12
"""So many are left at least where neighbours are put together."""
MOST_CORRELATION: Final = 0.95
CORRECTION_ERROR: Final = 0.25
"""Standard deviation of what a correction is wrong by, over the correction itself: times are no straight line in what
they are corrected by. It is little where engines of both versions have as much to do, and most of the error where one
has a multiple."""
LEAST_SLOPE: Final = 0.2
"""Of the times in the load, as far as the correction's error goes."""
_LEAST_FREEDOM: Final = 2.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """`difference` of the means of logarithms, new less stable, with its variance."""

    difference: float
    variance: float
    freedom: float
    """Degrees of freedom of the variance."""
    new: int
    """Requests of the new version that it is made from."""
    stable: int
    spread: float
    """Standard deviation of one request, after the correction by x."""
    design_effect: float = 1.0
    engine_spread: float = 0.0
    """Standard deviation between engines of one version."""
    correction_error: float = 0.0
    """Part of the standard error that comes from engines of one version having more to do than those of the other."""

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(self.variance)


class Slopes(NamedTuple):
    """By how much y changes with x and with z."""

    x: float
    z: float = 0.0

    def of(self, x: float, z: float) -> float:
        """What y is to be corrected by."""
        return self.x * x + self.z * z

    def doubtful(self, x: float, z: float) -> float:
        """The same as far as it may be wrong: a load that hardly changed does not show what a change of it does."""
        return math.copysign(max(abs(self.x), LEAST_SLOPE), self.x) * x + self.z * z


class _Block(NamedTuple):
    """One batch in one measure: weight (harmonic number of requests), the difference of the means of y after the
    correction, and as how much the correction is that may be wrong."""

    weight: float
    y: float
    doubtful: float


class _Fit(NamedTuple):
    difference: float
    line: float
    bend: float
    """By how much the difference grows with the doubtful part of the correction, and with its square."""
    variance: float
    """Of the difference."""

    def residual(self, block: _Block) -> float:
        """What is left of a batch's difference."""
        return block.y - self.difference - self.line * block.doubtful - self.bend * block.doubtful**2


def estimate(batches: Sequence[Batch], leans: Mapping[Engine, Lean], measure: Mean) -> Estimate | None:
    """None where there are too few batches with both versions in them, or nothing varies that could be told from."""
    pairs = [(b.new.of(measure), b.stable.of(measure)) for b in batches]
    pairs = [(new, stable) for new, stable in pairs if new.n and stable.n]
    if len(pairs) < LEAST_BATCHES:
        return None
    requests_new, requests_stable = sum(new.n for new, _ in pairs), sum(stable.n for _, stable in pairs)
    freedom_within = requests_new + requests_stable - 2 * len(pairs) - 2
    if freedom_within < 1:
        return None
    slopes, squares = _within(pairs)
    variance = max(squares / freedom_within, 1e-12)
    blocks = [_block(new, stable, slopes) for new, stable in pairs]
    first = _fit(blocks, variance)
    scaled = [math.sqrt(b.weight) * first.residual(b) for b in blocks]
    effect, independent = design_effect(scaled, variance)
    fit = _fit(blocks, variance * effect)
    engine_variance, share = engine_effect(leans, slopes, variance, effect)
    return Estimate(
        fit.difference,
        fit.variance + engine_variance * share,
        max(_LEAST_FREEDOM, independent - 1.0),
        requests_new,
        requests_stable,
        math.sqrt(variance),
        effect,
        math.sqrt(engine_variance),
        math.sqrt(max(0.0, fit.variance - variance * effect / sum(b.weight for b in blocks))),
    )


def _within(pairs: Sequence[tuple[Sums, Sums]]) -> tuple[Slopes, float]:
    """The slopes within versions and batches, and the sum of the squares that are left."""
    xx = xz = zz = xy = zy = yy = all_xx = all_zz = 0.0
    for pair in pairs:
        for s in pair:
            xx += s.xx - s.x * s.x / s.n
            xz += s.xz - s.x * s.z / s.n
            zz += s.zz - s.z * s.z / s.n
            xy += s.xy - s.x * s.y / s.n
            zy += s.zy - s.z * s.y / s.n
            yy += s.yy - s.y * s.y / s.n
            all_xx, all_zz = all_xx + s.xx, all_zz + s.zz
    # Sums of squares of large numbers: what is left of them below their own rounding is nothing.
    slope = xy / xx if xx > 1e-9 * max(1.0, all_xx) else 0.0
    across = xz / xx if slope else 0.0
    left_zz, left_zy = zz - across * xz, zy - across * xy
    if left_zz <= max(1e-9 * max(1.0, all_zz), 1e-6 * zz):
        return Slopes(slope), yy - slope * xy
    second = left_zy / left_zz
    slopes = Slopes(slope - second * across, second)
    return slopes, yy - slope * xy - second * left_zy


def _block(new: Sums, stable: Sums, slopes: Slopes) -> _Block:
    x, z = new.x / new.n - stable.x / stable.n, new.z / new.n - stable.z / stable.n
    y = new.y / new.n - stable.y / stable.n - slopes.of(x, z)
    return _Block(new.n * stable.n / (new.n + stable.n), y, slopes.doubtful(x, z))


def _fit(blocks: Sequence[_Block], variance: float) -> _Fit:
    """The difference beside what the correction is wrong by: an unknown line and an unknown bend in its doubtful part,
    both around 0 with `CORRECTION_ERROR` (random slopes; a ridge regression)."""
    sums = [0.0] * 5  # of weight times doubtful to the power of the place
    along = [0.0] * 3  # the same times y
    for block in blocks:
        term = block.weight
        for power in range(5):
            sums[power] += term
            if power < 3:
                along[power] += term * block.y
            term *= block.doubtful
    w, first, second, third, fourth = sums
    ridge = variance / CORRECTION_ERROR**2
    # Line and bend are eliminated by Cramer's rule; what is left of the weight tells of the difference alone.
    line_line, bend_bend = second + ridge, fourth + ridge
    determinant = line_line * bend_bend - third * third
    of_line = (first * bend_bend - second * third) / determinant
    of_bend = (second * line_line - first * third) / determinant
    left = w - of_line * first - of_bend * second
    difference = (along[0] - of_line * along[1] - of_bend * along[2]) / left
    line_y, bend_y = along[1] - first * difference, along[2] - second * difference
    line = (line_y * bend_bend - bend_y * third) / determinant
    bend = (bend_y * line_line - line_y * third) / determinant
    return _Fit(difference, line, bend, variance / left)


def design_effect(scaled: Sequence[float], variance: float) -> tuple[float, float]:
    """By how much more the batches differ than those of independent requests would, at least 1; and how many
    independent batches they are worth, which is how well that is known.

    `scaled` are the batches' deviations times the root of their weights, in order of time; `variance` is of a request.
    What lasts longer than a batch and is small beside its noise shows only in longer ones: neighbours are put together
    as long as enough are left, and the largest effect counts.
    """
    effect, independent = _effect(scaled, variance)
    while len(scaled) >= 2 * LEAST_LONG_BATCHES:
        pairs = list(pairwise(scaled[len(scaled) % 2 :]))[::2]
        scaled = [(a + b) / math.sqrt(2.0) for a, b in pairs]
        longer, fewer = _effect(scaled, variance)
        if longer > effect:
            effect, independent = longer, min(independent, fewer)
    return effect, independent


def _effect(scaled: Sequence[float], variance: float) -> tuple[float, float]:
    """The same for batches of this length."""
    squares, count = sum(value * value for value in scaled), len(scaled)
    if squares <= 0.0:
        return 1.0, float(count)
    lagged = sum(a * b for a, b in pairwise(scaled)) / squares
    # Deviations from their own mean are correlated by -1/n where those from the true one are not; and what is within
    # the noise of n numbers is none.
    correlation = min(MOST_CORRELATION, lagged + (1.0 + 4.0 * max(lagged, 0.0)) / count)
    inflation = (1.0 + correlation) / (1.0 - correlation) if correlation > 1.0 / math.sqrt(count) else 1.0
    return max(1.0, squares / ((count - 1) * variance) * inflation), count / inflation


def engine_effect(leans: Mapping[Engine, Lean], slopes: Slopes, variance: float, effect: float) -> tuple[float, float]:
    """Variance between engines of one version, and the factor with which it enters the difference (1 over the number
    of engines of either version, where they have equal numbers of requests)."""
    ratios = 0.0
    freedom = -len({side for side, _ in leans})
    by_side: dict[str, list[int]] = {}
    for (side, _), lean in leans.items():
        if lean.n:
            ratios += (lean.y - slopes.of(lean.x, lean.z)) ** 2 / (lean.n * variance)
            freedom += 1
            by_side.setdefault(side, []).append(lean.n)
    share = sum(sum(n * n for n in numbers) / sum(numbers) ** 2 for numbers in by_side.values())
    if freedom < 1:
        return 0.0, share
    shrunk = (ratios + PRIOR_ENGINES * effect) / (freedom + PRIOR_ENGINES)
    engines = [n for numbers in by_side.values() for n in numbers]
    typical = len(engines) / sum(1.0 / n for n in engines)
    return max(0.0, shrunk - effect) * variance / typical, share
