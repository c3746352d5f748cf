"""What an engine is computing at a moment: one mixed iteration, or a run of identical decode iterations.

The time of iteration i (from 0) of a run is `first_s + i * growth_s`, because the context grows by the same amount each
time and the cost is affine in it; so the time of any number of iterations, and the number within any time, are closed
forms. Speculation makes the growth irregular, jitter stretches the time; both are summed up beforehand.
"""

from __future__ import annotations

from math import sqrt

from fairlead.simulator.engine.jitter import Acceptance, Jitter
from fairlead.simulator.engine.request import Sequence


class Flight:
    """`iterations` iterations from `start_s` on, numbered from `number`; `chunks` are the prompt tokens computed."""

    __slots__ = (
        "_acceptance",
        "_first_s",
        "_growth_s",
        "_jitter",
        "chunks",
        "decoding",
        "end_s",
        "iterations",
        "number",
        "start_s",
    )

    def __init__(
        self,
        start_s: float,
        number: int,
        iterations: int,
        first_s: float,
        growth_s: float,
        decoding: int,
        chunks: list[tuple[Sequence, int]],
        jitter: Jitter | None,
        acceptance: Acceptance | None = None,
    ) -> None:
        self.start_s = start_s
        self.number = number
        self.iterations = iterations
        self.decoding = decoding
        """Sequences that decode."""
        self.chunks = chunks
        self._first_s = first_s
        self._growth_s = growth_s
        """Per token that every sequence gains."""
        self._jitter = jitter
        self._acceptance = acceptance
        self.end_s = start_s + self.elapsed_s(iterations)

    def elapsed_s(self, iterations: int) -> float:
        """Seconds that the first `iterations` take."""
        acceptance = self._acceptance
        if acceptance is None:
            gained = iterations * (iterations - 1) // 2
        else:
            gained = acceptance.tokens_before(self.number, iterations)
        base_s = iterations * self._first_s + self._growth_s * gained
        if self._jitter is None or not iterations:
            return base_s
        return base_s * (1 + self._jitter.excess(self.number, iterations) / iterations)

    def cut(self, iterations: int) -> None:
        """Only this many iterations, from 1 to those planned."""
        self.iterations = iterations
        self.end_s = self.start_s + self.elapsed_s(iterations)

    def begun_by(self, now_s: float) -> int:
        """Which iteration, from 1, is the first to end at `now_s` or later; at most the last one."""
        if self.iterations == 1:
            return 1
        elapsed_s = now_s - self.start_s
        low = 1
        high = self.iterations
        if self._jitter is None and self._acceptance is None:
            # The root of the quadratic, and one on either side of it for rounding.
            guess = _iterations_within(elapsed_s, self._first_s, self._growth_s)
            low, high = min(high, max(1, guess - 1)), min(high, max(1, guess + 2))
        while low < high:
            middle = (low + high) // 2
            if self.elapsed_s(middle) >= elapsed_s:
                high = middle
            else:
                low = middle + 1
        return low

    def done_by(self, now_s: float) -> int:
        """How many iterations have ended at `now_s`."""
        if now_s >= self.end_s:
            return self.iterations
        begun = self.begun_by(now_s)
        return begun if self.start_s + self.elapsed_s(begun) <= now_s else begun - 1


def _iterations_within(elapsed_s: float, first_s: float, growth_s: float) -> int:
    if first_s <= 0:
        return 1
    linear_s = first_s - growth_s / 2
    if growth_s <= 0:
        return int(elapsed_s / first_s)
    return int(2 * elapsed_s / (linear_s + sqrt(max(0.0, linear_s * linear_s + 2 * growth_s * elapsed_s))))
