"""Seeded noise of iteration times and of speculative acceptance, as functions of the iteration's number.

Both are tables that repeat, summed up beforehand: the noise of any run of iterations is a difference of two sums, so a
run advances in closed form and gives the same times however it is cut into pieces.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from itertools import accumulate
from math import exp, log

_PERIOD = 4096
"""Iterations until the noise repeats; long against what a request sees."""

_SPREAD = 8


class Jitter:
    """Factors with mean 1 and the given standard deviation, log-normally distributed."""

    __slots__ = ("_excess", "_sums", "spread")

    def __init__(self, deviation: float, seed: int) -> None:
        chosen = random.Random(f"jitter/{seed}")
        sigma = log(1 + deviation * deviation) ** 0.5
        factors = [exp(chosen.gauss(-sigma * sigma / 2, sigma)) for _ in range(_PERIOD)]
        mean = sum(factors) / _PERIOD
        self._sums = [0.0, *accumulate(f / mean - 1 for f in factors)]
        self._excess = self._sums.pop()
        ordered, share = sorted(f / mean for f in factors), _PERIOD // _SPREAD
        self.spread = [sum(ordered[i * share : (i + 1) * share]) / share for i in range(_SPREAD)]
        """Equally likely factors that stand for all: for the distribution of a run's iterations."""

    def excess(self, first: int, count: int) -> float:
        """Sum of (factor - 1) over `count` iterations from number `first` on."""
        return self._sum_to(first + count) - self._sum_to(first)

    def _sum_to(self, number: int) -> float:
        turns, rest = divmod(number, _PERIOD)
        return turns * self._excess + self._sums[rest]


class Acceptance:
    """How many tokens a speculating iteration gives: 1 + the drafted ones accepted before the first refusal.

    One draw serves all sequences of an iteration: every sequence sees the right distribution, the batch moves together.
    """

    __slots__ = ("_period_sum", "_period_tokens", "_sums", "_sums_of_sums")

    def __init__(self, drafted: int, probability: float, seed: int) -> None:
        chosen = random.Random(f"acceptance/{seed}")

        def tokens() -> int:
            accepted = 0
            while accepted < drafted and chosen.random() < probability:
                accepted += 1
            return 1 + accepted

        self._sums = [0, *accumulate(tokens() for _ in range(_PERIOD))]
        self._period_tokens = self._sums.pop()
        self._sums_of_sums = [0, *accumulate(self._sums)]
        self._period_sum = self._sums_of_sums.pop()

    def tokens(self, first: int, count: int) -> int:
        """Tokens per sequence of `count` iterations from number `first` on."""
        return self._sum_to(first + count) - self._sum_to(first)

    def iterations_for(self, first: int, tokens: int) -> int:
        """How many iterations from number `first` on give at least `tokens` tokens per sequence."""
        goal = self._sum_to(first) + tokens
        turns, rest = divmod(goal - 1, self._period_tokens)
        return turns * _PERIOD + bisect_left(self._sums, rest + 1) - first

    def tokens_before(self, first: int, count: int) -> int:
        """Sum over `count` iterations from number `first` on of the tokens that each finds already gained."""
        return self._sum_of_sums_to(first + count) - self._sum_of_sums_to(first) - count * self._sum_to(first)

    def _sum_to(self, number: int) -> int:
        turns, rest = divmod(number, _PERIOD)
        return turns * self._period_tokens + self._sums[rest]

    def _sum_of_sums_to(self, number: int) -> int:
        turns, rest = divmod(number, _PERIOD)
        whole_turns = turns * self._period_sum + self._period_tokens * _PERIOD * (turns * (turns - 1) // 2)
        return whole_turns + self._sums_of_sums[rest] + turns * self._period_tokens * rest
