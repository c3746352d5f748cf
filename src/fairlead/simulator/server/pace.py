"""Timing without hardware or calibration: two fixed durations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PacedCost:
    """An iteration takes `prefill_s` with any prompt token in it and `decode_s` without; see `perf.step.StepCost`."""

    prefill_s: float
    decode_s: float

    @property
    def context_s(self) -> float:
        """Context costs nothing."""
        return 0.0

    def step_s(self, prefill_tokens: int, prefill_pairs: int, decode_tokens: int, context_tokens: int) -> float:
        """Seconds of an iteration."""
        if prefill_tokens:
            return self.prefill_s
        return self.decode_s if decode_tokens else 0.0
