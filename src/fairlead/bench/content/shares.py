"""Shares of a stream that hold over every stretch of it, in an order that is not a pattern."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence


class Shares:
    """Whose turn it is among several with weights. The n-th turn of one comes at a random place of its n-th interval of
    1/weight: over any stretch each has its share to within one or two turns, and two such streams do not fall into
    step, as round robins would."""

    def __init__(self, weights: Sequence[float], rng: random.Random) -> None:
        self._every = [1 / weight if weight > 0 else 0.0 for weight in weights]
        self._rng = rng
        self._turns = [0] * len(weights)
        self._next = [(rng.random() * every, at) for at, every in enumerate(self._every) if every > 0]
        heapq.heapify(self._next)

    def next(self) -> int:
        """Its number in the list of weights. Raises IndexError when there are none above 0."""
        at = self._next[0][1]
        self._turns[at] += 1
        heapq.heapreplace(self._next, ((self._turns[at] + self._rng.random()) * self._every[at], at))
        return at


class AdapterTurns:
    """Which adapter a session asks for; the empty name is the base model."""

    def __init__(self, weights: dict[str, float], rng: random.Random) -> None:
        self._names = list(weights)
        self._shares = Shares(list(weights.values()), rng)

    def next(self) -> str:
        return self._names[self._shares.next()] if self._names else ""


def zipf_weights(count: int, exponent: float, base_share: float) -> dict[str, float]:
    """Adapters `lora-0` … with weights 1/rank^exponent, and the base model with its share of all."""
    weights = [(rank + 1) ** -exponent for rank in range(count)]
    total = sum(weights)
    named = {f"lora-{rank}": weight / total * (1 - base_share) for rank, weight in enumerate(weights)}
    return {"": base_share, **named} if base_share > 0 else named
