"""When the requests of an open loop are due. Pure: everything random comes from a seed.

A process draws gaps of mean 1, whose running sum is mapped through the inverse of the rate's integral (time rescaling:
Brown et al., Neural Computation 2002), so that ramps keep the character of the process:

    first·t + (last − first)/(2·T)·t² = work,  0 ≤ t ≤ T
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from math import sqrt
from typing import TYPE_CHECKING

from fairlead.bench.config.load import OpenLoop, Search, TracedTimes

if TYPE_CHECKING:
    from fairlead.bench.load.stages import StagePlan


def due_times(
    plan: StagePlan, load: OpenLoop | Search | TracedTimes, seed: int, times_s: Sequence[float] = ()
) -> Iterator[float]:
    """Seconds from the origin, rising.

    Constant gaps are exactly even: request k comes when the integral of the rate is k + ½, so that stages of the same
    rate follow each other without a seam. A stage told by requests alone has exactly so many: its gaps are scaled to
    its length, which of a Poisson process is what it is like given their number. Told by both, the first ends it.
    `times_s` are the trace's, for its own times.
    """
    assert plan.end_s is not None
    if isinstance(load, TracedTimes):
        yield from _traced(plan, load, times_s)
        return
    length_s = plan.end_s - plan.begin_s
    last = plan.intended if plan.to is None else plan.to
    for number, work in enumerate(_work(plan, load, seed, (plan.intended + last) / 2 * length_s)):
        if plan.requests is not None and number >= plan.requests:
            return
        yield plan.begin_s + _when(work, plan.intended, last, length_s)


def _traced(plan: StagePlan, load: TracedTimes, times_s: Sequence[float]) -> Iterator[float]:
    assert plan.requests is not None
    first = bisect_left(times_s, plan.begin_s, key=lambda time_s: time_s / load.speed)
    for at in range(first, first + plan.requests):
        yield times_s[at] / load.speed


def _when(work: float, first: float, last: float, length_s: float) -> float:
    """In the form that stays exact for a rate that does not change."""
    slope = (last - first) / length_s
    root = sqrt(max(0.0, first * first + 2 * slope * work))
    return min(length_s, 2 * work / (first + root))


def _work(plan: StagePlan, load: OpenLoop | Search, seed: int, total: float) -> Iterator[float]:
    """Values of the rate's integral at which requests come, below `total`."""
    if load.process == "constant":
        # Half a gap is kept from the end; rounding must not lose the last request of a whole number.
        for number in count():
            if number + 0.5 > total * (1 + 1e-12):
                return
            yield number + 0.5
    scale = 1.0
    if plan.requests is not None and _is_told_by_requests(plan, total):
        gap = _gap(load, seed, plan)
        scale = total / sum(gap() for _ in range(plan.requests + 1))
    gap = _gap(load, seed, plan)
    work = gap() * scale
    while work < total:
        yield work
        work += gap() * scale


def _is_told_by_requests(plan: StagePlan, total: float) -> bool:
    """A length that comes from the number of requests has just so many in its mean."""
    return plan.requests is not None and abs(total - plan.requests) < 1e-6 * plan.requests


def _gap(load: OpenLoop | Search, seed: int, plan: StagePlan) -> Callable[[], float]:
    """Of mean 1, from the beginning of the stage's own stream."""
    rng = random.Random(f"{seed}/{plan.index}")
    if load.process == "poisson":
        return lambda: rng.expovariate(1.0)
    shape = 1 / (load.cv * load.cv)
    return lambda: rng.gammavariate(shape, 1 / shape)
