"""How far estimates of tokens are off for each model, learned from what engines counted. No I/O and no clock.

A model's tokenizer and what its clients send (a language, code, a template's fixed text) make its ratio; it moves
slowly, and a few requests tell it well enough.
"""

from __future__ import annotations

from typing import Final

_FORGETTING: Final = 0.98
_PRIOR_TOKENS: Final = 200.0
"""Tokens that the first ratio, 1, weighs."""
_LEAST, _MOST = 0.2, 5.0
_MAX_MODELS: Final = 10_000


class TokenRatios:
    """True tokens to estimated ones, by model."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}  # model -> (estimated, counted), older ones weighing less

    def corrected(self, model: str, estimated_tokens: int) -> int:
        """A better estimate."""
        sums = self._sums.get(model)
        if sums is None or not estimated_tokens:
            return estimated_tokens
        ratio = (sums[1] + _PRIOR_TOKENS) / (sums[0] + _PRIOR_TOKENS)
        return max(1, int(estimated_tokens * min(max(ratio, _LEAST), _MOST) + 0.5))

    def observe(self, model: str, estimated_tokens: int, counted_tokens: int) -> None:
        """What a prompt was taken for, uncorrected, and what the engine counted."""
        if estimated_tokens <= 0 or counted_tokens <= 0:
            return
        # One engine that counts nonsense must not drown what all others have counted.
        told = min(max(counted_tokens, _LEAST * estimated_tokens), _MOST * estimated_tokens)
        estimated, counted = self._sums.pop(model, (0.0, 0.0))
        if len(self._sums) >= _MAX_MODELS:
            del self._sums[next(iter(self._sums))]  # The one that was not heard of for longest.
        self._sums[model] = (estimated * _FORGETTING + estimated_tokens, counted * _FORGETTING + told)
