"""The difference of a measure between two versions, and how sure it is. Pure.

A regression with the batches as blocks: within each batch the mean of y of the new version less the stable one's, both
corrected by one slope for what their requests' x differ in (analysis of covariance), batches weighted by how much they
tell. Requests of a busy engine resemble each other, so that the variance of independent ones is too small; it is
multiplied by the *design effect*, Pearson's chi square of the batches' differences over its degrees of freedom, and by
what the correlation of neighbouring batches adds. What engines of one version differ in, for as long as they live, no
number of requests averages out: it is a variance of its own, over the number of engines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from fairlead.serving.analysis.evidence import Batch, Engine, Lean
from fairlead.serving.analysis.sums import Mean

LEAST_BATCHES: Final = 8
"""Fewer do not show how much they vary."""
PRIOR_ENGINES: Final = 6.0
"""Degrees of freedom that the assumption of like engines is worth: two or three of them do not show the contrary."""
LEAST_LONG_BATCHES: Final = 12
"""So many are left at least where neighbours are put together."""
MOST_CORRELATION: Final = 0.95
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

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(self.variance)


class _Block(NamedTuple):
    """One batch in one measure: weight (harmonic number of requests), differences of the means of x and of y."""

    weight: float
    x: float
    y: float


def estimate(batches: Sequence[Batch], leans: Mapping[Engine, Lean], measure: Mean) -> Estimate | None:
    """None where there are too few batches with both versions in them, or nothing varies that could be told from."""
    pairs = [(b.new.of(measure), b.stable.of(measure)) for b in batches]
    pairs = [(new, stable) for new, stable in pairs if new.n and stable.n]
    if len(pairs) < LEAST_BATCHES:
        return None
    xx = xy = yy = 0.0
    blocks = []
    for pair in pairs:
        for sums in pair:
            xx += sums.xx - sums.x * sums.x / sums.n
            xy += sums.xy - sums.x * sums.y / sums.n
            yy += sums.yy - sums.y * sums.y / sums.n
        new, stable = pair
        weight = new.n * stable.n / (new.n + stable.n)
        blocks.append(_Block(weight, new.x / new.n - stable.x / stable.n, new.y / new.n - stable.y / stable.n))
    requests_new, requests_stable = sum(new.n for new, _ in pairs), sum(stable.n for _, stable in pairs)
    freedom_within = requests_new + requests_stable - 2 * len(pairs) - 1
    if freedom_within < 1:
        return None
    # Sums of squares of large numbers: what is left of them below their own rounding is nothing.
    slope = xy / xx if xx > 1e-9 * max(1.0, sum(new.xx + stable.xx for new, stable in pairs)) else 0.0
    variance = max((yy - slope * xy) / freedom_within, 1e-12)
    weight = sum(block.weight for block in blocks)
    differences = [block.y - slope * block.x for block in blocks]
    difference = sum(b.weight * d for b, d in zip(blocks, differences, strict=True)) / weight
    scaled = [math.sqrt(b.weight) * (d - difference) for b, d in zip(blocks, differences, strict=True)]
    effect, independent = design_effect(scaled, variance)
    engine_variance, share = engine_effect(leans, slope, variance, effect)
    return Estimate(
        difference,
        variance * effect / weight + engine_variance * share,
        max(_LEAST_FREEDOM, independent - 1.0),
        requests_new,
        requests_stable,
        math.sqrt(variance),
        effect,
        math.sqrt(engine_variance),
    )


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


def engine_effect(leans: Mapping[Engine, Lean], slope: float, variance: float, effect: float) -> tuple[float, float]:
    """Variance between engines of one version, and the factor with which it enters the difference (1 over the number
    of engines of either version, where they have equal numbers of requests)."""
    ratios = 0.0
    freedom = -len({side for side, _ in leans})
    by_side: dict[str, list[int]] = {}
    for (side, _), lean in leans.items():
        if lean.n:
            ratios += (lean.y - slope * lean.x) ** 2 / (lean.n * variance)
            freedom += 1
            by_side.setdefault(side, []).append(lean.n)
    share = sum(sum(n * n for n in numbers) / sum(numbers) ** 2 for numbers in by_side.values())
    if freedom < 1:
        return 0.0, share
    shrunk = (ratios + PRIOR_ENGINES * effect) / (freedom + PRIOR_ENGINES)
    engines = [n for numbers in by_side.values() for n in numbers]
    typical = len(engines) / sum(1.0 / n for n in engines)
    return max(0.0, shrunk - effect) * variance / typical, share
