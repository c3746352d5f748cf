"""A sequential test of a difference: it may be looked at as often as one likes, and its errors stay what was stated.

Evidence is a likelihood ratio against the hypothesis that is to be ruled out. Under that hypothesis it reaches 1/p
at any time with a probability of at most p (Ville's inequality), so that no schedule of looks is needed, and about half
the requests of a test of fixed size (Wald's sequential probability ratio test):

    worse    against "no difference":   alternatives from the margin upwards
    as good  against "the margin":      alternatives from no difference downwards

Most of the weight is on the nearest alternative, for which the test is to be quick; the rest on multiples of the
margin, so that a version that is far off is found out in the first requests. The variance is estimated, so the ratio is
that of Student's densities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from fairlead.serving.analysis.estimate import Estimate

NEAREST_WEIGHT: Final = 0.8
MULTIPLES: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


LATE_WEIGHT: Final = 0.1 / 256.0
"""Of the evidence of a comparison that begins with any one of the batches."""


class Weighing(NamedTuple):
    """Natural logarithms of the evidence that it is worse by the margin, and that it is not."""

    worse: float
    as_good: float


def weigh(found: Estimate, margin: float, *, either_direction: bool = False) -> Weighing:
    """`margin` is the difference that must not be overlooked, above 0. `either_direction`: a version may neither have
    more nor less; otherwise less is better."""
    up = [(NEAREST_WEIGHT, margin), *_spread([m * margin for m in MULTIPLES])]
    if not either_direction:
        down = [(NEAREST_WEIGHT, 0.0), *_spread([margin - m * margin for m in MULTIPLES])]
        return Weighing(_evidence(found, up, 0.0), _evidence(found, down, margin))
    both = [(weight / 2.0, sign * at) for weight, at in up for sign in (1.0, -1.0)]
    as_good = min(_evidence(found, [(1.0, 0.0)], margin), _evidence(found, [(1.0, 0.0)], -margin))
    return Weighing(_evidence(found, both, 0.0), as_good)


def lately(whole: Weighing, late: Weighing) -> Weighing:
    """The evidence of all that was seen, with that of its latest part: a version that was good and has gone bad is
    found out though it is good in the mean, if it has gone bad enough."""
    return Weighing(max(whole.worse + math.log1p(-0.1), late.worse + math.log(LATE_WEIGHT)), whole.as_good)


def expected_requests(
    spread: float, margin: float, *, wrong: float, new_share: float, design_effect: float = 1.0
) -> float:
    """Requests of the new version after which the test decides, in the mean, where the truth is either hypothesis.

    `spread` is the standard deviation of one request (of the logarithm, after the correction by x; for errors
    the root of p (1 - p)), `margin` in the same unit, `wrong` the probability of the error that is to be excluded (of a
    false alarm, over the number of measures, for a version that is worse; of a miss for one that is as good),
    `new_share` the new version's share of the requests. Wald's approximation.
    """
    needed = 2.0 * (math.log(1.0 / wrong) - math.log(NEAREST_WEIGHT)) / margin**2
    return design_effect * spread**2 * needed / (1.0 - new_share)


def _spread(places: Sequence[float]) -> list[tuple[float, float]]:
    return [((1.0 - NEAREST_WEIGHT) / len(places), place) for place in places]


def _evidence(found: Estimate, alternatives: Sequence[tuple[float, float]], against: float) -> float:
    logs = [math.log(weight) + _log_ratio(found, at, against) for weight, at in alternatives]
    most = max(logs)
    return most + math.log(sum(math.exp(value - most) for value in logs))


def _log_ratio(found: Estimate, at: float, against: float) -> float:
    """Of Student's density around one difference to that around another."""
    scale = found.variance * found.freedom
    here, there = (found.difference - at) ** 2 / scale, (found.difference - against) ** 2 / scale
    return (found.freedom + 1.0) / 2.0 * (math.log1p(there) - math.log1p(here))
