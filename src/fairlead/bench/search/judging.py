"""What a load has shown so far: kept, failed, saturated, or not to be told yet.

Requests of a queue are not independent: a burst spoils many in a row. The interval of the attainment is Wilson's with
an effective count, n / deff, where deff is the variance of batch means over that of independent requests (the method
of batch means: Law & Kelton, Simulation Modeling and Analysis, 9.5.3); so a step that looks decided by sheer count goes
on until it is.
"""

from __future__ import annotations

import itertools
from math import sqrt
from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

from fairlead.bench.config.load import Search
from fairlead.bench.summary import Interval

BATCHES = 20
LEAST_JUDGED = 20
GROWTH_S_PER_S = 0.05
"""A server that falls behind by more than this in each second, all the time, is saturated: it serves less than 95 % of
what comes."""
QUARTERS = 4
LEAST_FOR_GROWTH = 40
GROWTH_SHARE = 0.25
"""Of a step: a queue that has grown for less may have grown by chance."""


class Seen(msgspec.Struct, frozen=True):
    """Requests of a step, in order of due: when each was due (seconds since the step began), whether it was good, and
    how long after that its first token came (NaN: it did not). Without those due in the settling time, and up to the
    first whose end is not known: those that have ended first are not fairly chosen."""

    due_s: npt.NDArray[np.float64]
    good: npt.NDArray[np.bool_]
    delay_s: npt.NDArray[np.float64]
    elapsed_s: float  # since the settling time


class Shown(msgspec.Struct, frozen=True):
    """What a step has come to."""

    decision: str
    why: str
    attainment: float | None
    interval: Interval | None


def judge(seen: Seen, asked: float, search: Search, final: bool = False) -> Shown | None:
    """None: go on. `final`: the step's time is up, and what cannot be told is undecided.

    `asked` is the attainment that the objective asks for. Raises nothing.
    """
    if (growth := growth_s_per_s(seen, search.step_s * GROWTH_SHARE)) is not None:
        why = f"first tokens came later by {growth:.2f} s in each second: the server serves less than it is asked"
        good = float(seen.good.mean()) if len(seen.good) else None
        return Shown("saturated", why, good, None)
    if not final and seen.elapsed_s < search.step_s:
        return None
    count = len(seen.good)
    if count < LEAST_JUDGED:
        return Shown("undecided", f"{count} requests are too few to judge by", None, None) if final else None
    attainment, interval = attainment_of(seen, search.confidence)
    said = f"attainment {attainment:.2%} ({interval.low:.2%} to {interval.high:.2%}) of {asked:.2%}, {count} requests"
    if interval.low >= asked:
        return Shown("kept", said, attainment, interval)
    if interval.high < asked:
        return Shown("failed", said, attainment, interval)
    if final or seen.elapsed_s >= search.max_step_s:
        return Shown("undecided", f"{said}: not to be told apart within {search.max_step_s:g} s", attainment, interval)
    return None


def attainment_of(seen: Seen, confidence: float) -> tuple[float, Interval]:
    """Share of good requests, with its interval."""
    count = len(seen.good)
    share = float(seen.good.mean())
    effective = count / _design_effect(seen, share)
    spread = NormalDist().inv_cdf(0.5 + confidence / 2)
    # Student's t for as many degrees of freedom as batches leave (first term of its expansion).
    spread *= 1 + (spread * spread + 1) / (4 * (BATCHES - 1))
    return share, wilson(share, effective, spread)


def wilson(share: float, count: float, spread: float) -> Interval:
    """Wilson's score interval (JASA 22, 1927); `spread` is the normal quantile."""
    square = spread * spread
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = spread / (1 + square / count) * sqrt(share * (1 - share) / count + square / (4 * count * count))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def growth_s_per_s(seen: Seen, least_s: float) -> float | None:
    """By how much the delay of first tokens grows per second; None unless it grows too fast in every quarter of a time
    of `least_s` or more."""
    came = ~np.isnan(seen.delay_s)
    due_s, delay_s = seen.due_s[came], seen.delay_s[came]
    if len(due_s) < LEAST_FOR_GROWTH or due_s[-1] - due_s[0] < least_s:
        return None
    parts = np.array_split(np.arange(len(due_s)), QUARTERS)
    middles = [float(np.median(delay_s[part])) for part in parts]
    if any(following <= before for before, following in itertools.pairwise(middles)):
        return None
    times = [float(due_s[part].mean()) for part in parts]
    growth = (middles[-1] - middles[0]) / (times[-1] - times[0])
    return growth if growth > GROWTH_S_PER_S else None


def _design_effect(seen: Seen, share: float) -> float:
    """How many requests of this step tell as much as one that is independent of the others; 1 at least."""
    count = len(seen.good)
    independent = share * (1 - share)
    if independent == 0 or count < 2 * BATCHES:
        return 1.0
    # Of equal numbers, in order of time.
    each = count // BATCHES
    means = seen.good[: each * BATCHES].reshape(BATCHES, each).mean(axis=1)
    return max(1.0, float(means.var(ddof=1)) * each / independent)
