"""How long an answer will be: learned from those before it, since requests seldom say."""

from __future__ import annotations

from collections import OrderedDict

MOST_KEYS = 4096
"""Models and tenants remembered; the one not heard of for longest is forgotten first."""

FIRST_TOKENS = 200.0
"""Before anything was seen."""

_WEIGHT = 0.02
"""Weight of the newest answer in a mean, once there are enough of them."""

_ENOUGH = 10
"""Answers of a tenant from which on its own mean is taken alone; before, the model's is mixed in."""

LONGEST_TOKENS = 1_000_000.0


class OutputLengths:
    """Mean answer length by model and tenant. Bounded memory, no clock."""

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._most_keys = most_keys
        self._means: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        """(model, tenant) -> mean tokens and answers seen; tenant "" stands for all of the model's."""

    def __len__(self) -> int:
        return len(self._means)

    def expected_tokens(self, model: str, tenant: str = "", limit_tokens: int | None = None) -> float:
        """Tokens to expect of an answer, at most `limit_tokens`, the request's own limit."""
        mean, _ = self._means.get((model, ""), (FIRST_TOKENS, 0))
        if tenant and (own := self._means.get((model, tenant))) is not None:
            share = min(1.0, own[1] / _ENOUGH)
            mean += share * (own[0] - mean)
        return mean if limit_tokens is None else min(mean, float(max(1, limit_tokens)))

    def observe(self, model: str, tenant: str, output_tokens: int) -> None:
        """An answer has ended."""
        if output_tokens < 1:
            return
        tokens = min(float(output_tokens), LONGEST_TOKENS)
        self._add((model, ""), tokens)
        if tenant:
            self._add((model, tenant), tokens)

    def _add(self, key: tuple[str, str], tokens: float) -> None:
        mean, seen = self._means.get(key, (tokens, 0))
        mean += max(_WEIGHT, 1.0 / (seen + 1)) * (tokens - mean)
        self._means[key] = (mean, min(seen + 1, 1_000_000))
        self._means.move_to_end(key)
        if len(self._means) > self._most_keys:
            self._means.popitem(last=False)
