"""Traffic of a rollout for studies of its analysis: heavy-tailed times, busy hours, engines with moods of their own.

Every second each engine gets a random number of requests. The logarithm of a request's time to its first token is a
line in that of its prompt's length plus noise (of two components, so that some are many times slower than most), plus
what all engines share at that time (a random walk back to its mean, as load comes and goes), plus what the engine alone
has at that time, plus what it has for good. No request is kept: only sums by second and engine, as reports tell them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the traffic is like."""

    per_s: float = 60.0
    share: float = 0.2
    """Of the new version."""
    engines: int = 10
    """Of both versions, by share."""
    spread: float = 0.4
    """Standard deviation of the logarithm of most requests' times."""
    slow: float = 0.05
    """Share of requests with three times that, around three times as long."""
    prompt_spread: float = 1.0
    slope: float = 0.6
    common: float = 0.3
    """Standard deviation of what all engines share."""
    common_s: float = 60.0
    """For how long that lasts."""
    mood: float = 0.0
    """Standard deviation of what one engine has alone for a time."""
    mood_s: float = 5.0
    lasting: float = 0.0
    """Standard deviation of what one engine has alone for good."""
    failed: float = 0.001


@dataclass(frozen=True, slots=True)
class Effect:
    """What the new version does: factors of its times and lengths, and the share of requests that fail besides."""

    ttft: float = 1.0
    itl: float = 1.0
    length: float = 1.0
    failed: float = 0.0


def walk(random: np.random.Generator, seconds: int, columns: int, spread: float, lasts_s: float) -> Floats:
    """A stationary first-order autoregressive process for each column, by second."""
    keep = math.exp(-1.0 / lasts_s)
    steps = random.normal(0.0, spread * math.sqrt(1.0 - keep * keep), (seconds, columns))
    steps[0] = random.normal(0.0, spread, columns)
    for second in range(1, seconds):
        steps[second] += keep * steps[second - 1]
    return steps


@dataclass(frozen=True, slots=True)
class Seconds:
    """Sums by second, engine, measure (TTFT, ITL, length) and of (n, x, y, xx, xy, yy); the first `new` engines are the
    new version's."""

    requests: NDArray[np.int64]
    errors: NDArray[np.int64]
    sums: Floats
    new: int


def simulate(random: np.random.Generator, traffic: Traffic, effect: Effect, seconds: int) -> Seconds:
    """Traffic of so many seconds."""
    engines = traffic.engines
    new = max(1, round(traffic.share * engines))
    per_engine = np.full(engines, traffic.per_s * (1.0 - traffic.share) / (engines - new))
    per_engine[:new] = traffic.per_s * traffic.share / new
    common = walk(random, seconds, 1, traffic.common, traffic.common_s)
    rates = per_engine * np.exp(common)
    requests = random.poisson(rates)
    moods = walk(random, seconds, engines, traffic.mood, traffic.mood_s)
    level = common + moods + random.normal(0.0, traffic.lasting, engines)
    is_new = np.zeros(engines)
    is_new[:new] = 1.0
    cells = np.repeat(np.arange(seconds * engines), requests.ravel())
    count = len(cells)
    failed = random.random(count) < traffic.failed + effect.failed * is_new[cells % engines]
    prompt = random.normal(6.0, traffic.prompt_spread, count)
    base = level.ravel()[cells]
    of_new = is_new[cells % engines]
    sums = np.zeros((seconds * engines, 3, 6))
    for place, (factor, slope, spread) in enumerate(
        ((effect.ttft, traffic.slope, traffic.spread), (effect.itl, 0.1, 0.2), (effect.length, 0.2, 0.8))
    ):
        slow = random.random(count) < (traffic.slow if place < 2 else 0.0)
        noise = random.normal(0.0, 1.0, count) * np.where(slow, 3.0 * spread, spread) + np.where(slow, math.log(3.0), 0)
        y = slope * prompt + noise + math.log(factor) * of_new + (base if place < 2 else 0.0)
        ok = ~failed
        for term, values in enumerate((np.ones(count), prompt, y, prompt * prompt, prompt * y, y * y)):
            sums[:, place, term] = np.bincount(cells[ok], values[ok], seconds * engines)
    errors = np.bincount(cells[failed], minlength=seconds * engines)
    return Seconds(
        requests, errors.reshape(seconds, engines), sums.reshape(seconds, engines, 3, 6), new
    )  # fmt: skip
