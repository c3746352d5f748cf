"""Distributions of lengths in tokens, as configuration and as draws from a seeded generator."""

from __future__ import annotations

import random
from math import exp, log, sqrt
from typing import TypeAlias

import msgspec

from fairlead.workload.request import PositiveInt


class Fixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fixed"):
    """Always the same."""

    tokens: PositiveInt

    def draw(self, rng: random.Random) -> int:
        return self.tokens


class Uniform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="uniform"):
    """Every whole number from `low` to `high`."""

    low: PositiveInt
    high: PositiveInt

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}: low must not be the greater")

    def draw(self, rng: random.Random) -> int:
        return rng.randint(self.low, self.high)


class LogNormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="lognormal"):
    """Log-normal with this mean and coefficient of variation, before it is cut to `low` … `high`.

    sigma² = ln(1 + cv²), mu = ln(mean) − sigma²/2.
    """

    mean: float
    cv: float = 1.0
    low: PositiveInt = 1
    high: PositiveInt = 131_072

    def __post_init__(self) -> None:
        if not (0 < self.mean < 1e9 and 0 <= self.cv < 1e3 and self.low <= self.high):
            raise ValueError(
                f"mean is {self.mean}, cv {self.cv}, low {self.low}, high {self.high}: take a mean above 0, a cv of 0 "
                "or more, and low up to high"
            )

    def draw(self, rng: random.Random) -> int:
        variance = log(1 + self.cv * self.cv)
        value = exp(rng.gauss(log(self.mean) - variance / 2, sqrt(variance)))
        return min(self.high, max(self.low, round(value)))


Lengths: TypeAlias = Fixed | Uniform | LogNormal
