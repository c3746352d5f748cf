"""A sequential test of the share of requests that fail, exact for rare failures too. Pure.

Numbers of failures in batches are multiplied up to likelihood ratios against the hypothesis to be ruled out; of
the pairs of rates that it allows, the one nearest to the alternative is taken, so that the product reaches 1/p under
any of them with a probability of at most p (Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample
tests that allow for optional stopping"). No normal approximation is in it: none out of fifty and none out of ten
thousand weigh what they should. The rate of the stable version is learned from the batches before.

An engine that breaks takes all its requests with it: failures that come in bursts count as so many fewer, by
Pearson's chi square of the batches over its degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from fairlead.serving.analysis.evidence import Batch
from fairlead.serving.analysis.sequential import Weighing

ALTERNATIVES: Final = ((0.7, 1.0), (0.1, 4.0), (0.1, 16.0), (0.1, 64.0))
"""Weight and multiple of the margin."""
_PRIOR_FAILED: Final = 0.25
_PRIOR_REQUESTS: Final = 50.0
_LEAST_BATCHES: Final = 4
_HIGHEST: Final = 0.995
_LOWEST: Final = 1e-6


class Rates(NamedTuple):
    """The difference of the shares that failed, new less stable."""

    difference: float
    error: float
    """Standard error."""
    new: int
    stable: int
    new_failed: int
    stable_failed: int
    design_effect: float

    @property
    def spread(self) -> float:
        """Standard deviation of one request."""
        share = (self.new_failed + self.stable_failed + 1.0) / (self.new + self.stable + 2.0)
        return math.sqrt(share * (1.0 - share))


def rates(batches: Sequence[Batch]) -> Rates:
    """What was seen in all batches. One success and one failure are added on either side (Agresti and Caffo), so that
    none out of few is not taken for none for sure."""
    n, k = sum(b.new.requests for b in batches), sum(b.new.errors for b in batches)
    m, j = sum(b.stable.requests for b in batches), sum(b.stable.errors for b in batches)
    p, q = (k + 1.0) / (n + 2.0), (j + 1.0) / (m + 2.0)
    effect = burstiness(batches)
    variance = effect * (p * (1.0 - p) / (n + 2.0) + q * (1.0 - q) / (m + 2.0))
    difference = (k / n if n else 0.0) - (j / m if m else 0.0)
    return Rates(difference, math.sqrt(variance), n, m, k, j, effect)


def weigh_errors(batches: Sequence[Batch], margin: float) -> Weighing:
    """`margin` is the difference of the shares that must not be overlooked, above 0 and below 1."""
    worse, as_good = [0.0] * len(ALTERNATIVES), 0.0
    failed_all = failed = _PRIOR_FAILED
    asked_all = asked = _PRIOR_REQUESTS
    for n, k, m, j in _learnable(batches):
        if n and m:
            rate = _inside(failed / asked)
            for place, (_, multiple) in enumerate(ALTERNATIVES):
                high = _inside(rate + multiple * margin)
                pooled = (n * high + m * rate) / (n + m)
                worse[place] += _log_likelihood(n, k, high, pooled) + _log_likelihood(m, j, rate, pooled)
            same = _inside(failed_all / asked_all)
            low = _nearest(same, n, m, margin)
            as_good += _log_likelihood(n, k, same, low + margin) + _log_likelihood(m, j, same, low)
        failed, asked = failed + j, asked + m
        failed_all, asked_all = failed_all + j + k, asked_all + m + n
    effect = burstiness(batches)
    most = max(worse)
    mixed = most + math.log(
        sum(weight * math.exp(value - most) for (weight, _), value in zip(ALTERNATIVES, worse, strict=True))
    )
    return Weighing(mixed / effect, as_good / effect)


def _learnable(batches: Sequence[Batch]) -> Iterator[tuple[float, float, float, float]]:
    """Requests and failures of both versions, batch by batch. A first one that is large, as a reader that has started
    anew has it, is taken in parts of which each is as large as those before together, as if its failures were spread
    evenly: of the whole, nothing would be known before but a guess."""
    for place, batch in enumerate(batches):
        counts = (batch.new.requests, batch.new.errors, batch.stable.requests, batch.stable.errors)
        halvings = 0 if place else max(0, math.ceil(math.log2(max(1, counts[2]) / _PRIOR_REQUESTS)))
        parts = [2.0**-halvings, *[2.0**-power for power in range(halvings, 0, -1)]]
        for part in parts:
            yield counts[0] * part, counts[1] * part, counts[2] * part, counts[3] * part


def burstiness(batches: Sequence[Batch]) -> float:
    """By how much more the numbers of failures vary from batch to batch than independent ones would; at least 1."""
    squares, freedom = 0.0, 0
    for sides in ([b.new for b in batches if b.new.requests], [b.stable for b in batches if b.stable.requests]):
        failed, asked = sum(s.errors for s in sides), sum(s.requests for s in sides)
        if len(sides) < _LEAST_BATCHES or not 0 < failed < asked:
            continue
        rate = failed / asked
        squares += sum((s.errors - s.requests * rate) ** 2 / (s.requests * rate * (1.0 - rate)) for s in sides)
        freedom += len(sides) - 1
    return max(1.0, squares / freedom) if freedom else 1.0


def _nearest(rate: float, n: float, m: float, margin: float) -> float:
    """The stable version's rate of the pair (that and `margin` more) that is hardest to tell from `rate` on both sides,
    for n requests of the new version and m of the stable one."""
    low, high = max(_LOWEST, rate - margin), max(2 * _LOWEST, min(rate, _HIGHEST - margin))
    for _ in range(40):
        middle = (low + high) / 2.0
        up = middle + margin
        # The slope of what the pair explains worse than `rate` does.
        rises = n * (up - rate) / (up * (1.0 - up)) + m * (middle - rate) / (middle * (1.0 - middle)) > 0.0
        if rises:
            high = middle
        else:
            low = middle
    return (low + high) / 2.0


def _log_likelihood(n: float, k: float, rate: float, against: float) -> float:
    """Of k failures out of n at one rate to those at another."""
    return k * math.log(rate / against) + (n - k) * math.log((1.0 - rate) / (1.0 - against))


def _inside(rate: float) -> float:
    return min(max(rate, _LOWEST), _HIGHEST)
