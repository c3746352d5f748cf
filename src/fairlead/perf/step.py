"""The time of one iteration of a continuous-batching engine: the seam between `perf` and every engine model.

An engine such as vLLM V1 runs iterations; each computes some prompt tokens (of one or more chunked prompts) and one
token, or one token and its drafts, for every decoding sequence. All that an engine model wants to know of hardware,
model and parallelism is how long such an iteration takes. It asks very often, so implementations keep plain floats.

The time is affine in the context of the decoding sequences with the constant slope `context_s`. That is what lets a
simulator sum a run of identical decode iterations in closed form: the context grows by the same amount each time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable


@runtime_checkable
class StepCost(Protocol):
    """Time of one iteration of a continuous-batching engine."""

    @property
    def context_s(self) -> float:
        """Seconds that one more token of context of the decoding sequences adds.

        `step_s` is affine in `context_tokens` with this slope, everything else equal.
        """
        ...

    def step_s(self, prefill_tokens: int, prefill_pairs: int, decode_tokens: int, context_tokens: int) -> float:
        """Seconds of an iteration.

        The iteration computes `prefill_tokens` prompt tokens attending to `prefill_pairs` (query, key) pairs in all,
        and `decode_tokens` tokens of decoding sequences (sequences × (1 + draft tokens)) whose contexts add up to
        `context_tokens`. 0 for an empty iteration.
        """
        ...


@dataclass(frozen=True, slots=True)
class LinearCost:
    """An iteration as a sum of coefficients, which a calibration fits to a benchmark report or a live server.

    `base_s` is paid by every iteration that computes anything, `prefill_base_s` on top by every iteration with a
    prompt token; the others are seconds per prompt token, per (query, key) pair of prompt tokens, per token of a
    decoding sequence and per token of context of the decoding sequences.
    """

    base_s: float
    prefill_token_s: float
    prefill_pair_s: float
    decode_token_s: float
    context_s: float
    prefill_base_s: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{field.name} is {value!r}; a cost is a finite number of seconds, 0 or more")

    def step_s(self, prefill_tokens: int, prefill_pairs: int, decode_tokens: int, context_tokens: int) -> float:
        """Seconds of an iteration; see `StepCost.step_s`."""
        if prefill_tokens:
            return (
                self.base_s
                + self.prefill_base_s
                + self.prefill_token_s * prefill_tokens
                + self.prefill_pair_s * prefill_pairs
                + self.decode_token_s * decode_tokens
                + self.context_s * context_tokens
            )
        if decode_tokens:
            return self.base_s + self.decode_token_s * decode_tokens + self.context_s * context_tokens
        return 0.0


def prefill_pairs(tokens: int, cached_tokens: int = 0) -> int:
    """(query, key) pairs of causal attention when `tokens` prompt tokens follow `cached_tokens` computed before.

    Token i (from 1) of the chunk attends to the `cached_tokens` before it, to the i - 1 of the chunk and to itself:
    Σ (cached + i) = tokens·cached + tokens·(tokens + 1)/2.
    """
    return tokens * cached_tokens + tokens * (tokens + 1) // 2
