"""Arrival processes: times of a stream of requests whose rate may change, from one seeded generator.

A process draws gaps with mean 1 (constant, exponential, or gamma with a coefficient of variation), whose running sum is
mapped through the inverse of the rate's integral; a rate that changes therefore keeps the character of the process
(time rescaling: Brown et al., Neural Computation 2002).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import cos, inf, pi, sin, sqrt
from typing import Annotated, Literal

import msgspec

PositiveFloat = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of `duration_s` at `rate_per_s`, or rising (falling) evenly from it to `to_rate_per_s`."""

    duration_s: PositiveFloat
    rate_per_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    to_rate_per_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = None


class Diurnal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rate that swings by a cosine around `mean_rate_per_s`, lowest at the start: peak = (1 + swing) × mean."""

    mean_rate_per_s: PositiveFloat
    swing: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.6
    period_s: PositiveFloat = 86_400.0


class Arrivals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When requests arrive. Exactly one of `rate_per_s`, `stages` and `diurnal`; stages end the stream.

    `cv` is the coefficient of variation of the gaps of `gamma`: above 1 burstier than Poisson, below 1 more even.
    """

    process: Literal["constant", "poisson", "gamma"] = "poisson"
    rate_per_s: PositiveFloat | None = None
    stages: tuple[Stage, ...] = ()
    diurnal: Diurnal | None = None
    cv: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        if sum((self.rate_per_s is not None, bool(self.stages), self.diurnal is not None)) != 1:
            raise ValueError("give exactly one of rate_per_s, stages and diurnal")

    def times(self, rng: random.Random) -> Iterator[float]:
        """Seconds from 0 on, rising; endless unless there are stages."""
        gap = self._gap(rng)
        if self.rate_per_s is not None:
            yield from _at_rate(gap, self.rate_per_s)
        elif self.diurnal is not None:
            yield from _diurnal(gap, self.diurnal)
        else:
            yield from _staged(gap, self.stages)

    def _gap(self, rng: random.Random) -> Callable[[], float]:
        if self.process == "constant":
            return lambda: 1.0
        if self.process == "poisson":
            return lambda: rng.expovariate(1.0)
        shape = 1 / (self.cv * self.cv)
        return lambda: rng.gammavariate(shape, 1 / shape)


def _at_rate(gap: Callable[[], float], rate_per_s: float) -> Iterator[float]:
    work = 0.0
    while True:
        work += gap()
        yield work / rate_per_s


def _staged(gap: Callable[[], float], stages: tuple[Stage, ...]) -> Iterator[float]:
    work, begin_s = gap(), 0.0
    for stage in stages:
        first = stage.rate_per_s
        last = first if stage.to_rate_per_s is None else stage.to_rate_per_s
        slope = (last - first) / stage.duration_s
        total = (first + last) / 2 * stage.duration_s
        while work <= total:
            # Solve first·t + slope·t²/2 = work in the form that stays exact for a slope of 0.
            root = sqrt(max(0.0, first * first + 2 * slope * work))
            yield begin_s + min(stage.duration_s, 2 * work / (first + root))
            work += gap()
        work -= total
        begin_s += stage.duration_s


def _diurnal(gap: Callable[[], float], diurnal: Diurnal) -> Iterator[float]:
    """Newton's method on the integral of the rate, which rises and whose derivative is known."""
    mean, swing, turn = diurnal.mean_rate_per_s, diurnal.swing, 2 * pi / diurnal.period_s
    work, time_s = 0.0, 0.0
    while True:
        work += gap()
        time_s = _invert(work, time_s, mean, swing, turn)
        yield time_s


def _invert(work: float, low_s: float, mean: float, swing: float, turn: float) -> float:
    """The time at which mean·(t − swing·sin(turn·t)/turn) reaches `work`, by bisection guarded Newton steps."""
    high_s = (work / mean) + 2 * swing / turn
    time_s = min(max(low_s, work / mean), high_s)
    for _ in range(60):
        error = mean * (time_s - swing * sin(turn * time_s) / turn) - work
        low_s, high_s = (low_s, time_s) if error > 0 else (time_s, high_s)
        rate = mean * (1 - swing * cos(turn * time_s))
        step_s = time_s - error / rate if rate > 0 else inf
        following_s = step_s if low_s < step_s < high_s else (low_s + high_s) / 2
        if abs(following_s - time_s) < 1e-9:
            return following_s
        time_s = following_s
    return time_s
