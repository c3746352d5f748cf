"""Exponential back-off with jitter: how long to wait after the n-th failure in a row."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first_s` up to `max_s`, each shortened by up to the part `jitter` of it."""

    first_s: float = 0.2
    max_s: float = 30.0
    jitter: float = 0.5

    def delay_s(self, failures: int, chance: float | None = None) -> float:
        """Seconds to wait after `failures` failures (at least 1) in a row. `chance` is a random number in [0, 1)."""
        # The exponent is bounded so that a long row of failures does not overflow a float.
        whole_s = min(self.max_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, 64))
        return whole_s * (1 - self.jitter * (random.random() if chance is None else chance))
