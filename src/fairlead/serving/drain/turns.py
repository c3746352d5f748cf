"""Who is looked at next: by time, and never more often than the budget allows, whatever piles up. Pure.

A bucket fills with `per_s` looks a second and holds a quarter of a second's: what is due beyond it waits its turn.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Final, Generic, TypeVar

T = TypeVar("T")

BURST_S: Final = 0.25
_WHOLE: Final = 1.0 - 1e-6
"""A look in the bucket, less what adding up fractions may leave out."""


class Turns(Generic[T]):
    """Things to be looked at, each at most once; times are monotonic seconds."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s * BURST_S)
        self._tokens = self._most
        self._filled_s = 0.0
        self._heap: list[tuple[float, int, T]] = []
        self._entry: dict[int, int] = {}  # id of the thing -> number of its valid place in the heap
        self._sequence = itertools.count()

    def put(self, thing: T, at_s: float) -> None:
        """It is due at `at_s`, in place of when it was due before."""
        number = next(self._sequence)
        self._entry[id(thing)] = number
        heapq.heappush(self._heap, (at_s, number, thing))

    def remove(self, thing: T) -> bool:
        """It is not to be looked at; whether it was."""
        return self._entry.pop(id(thing), None) is not None

    def take(self, now_s: float) -> T | None:
        """The next that is due, if the budget has a look left."""
        self._drop_outdated()
        if not self._heap or self._heap[0][0] > now_s:
            return None
        self._fill(now_s)
        if self._tokens < _WHOLE:
            return None
        self._tokens = max(0.0, self._tokens - 1.0)
        thing = heapq.heappop(self._heap)[2]
        del self._entry[id(thing)]
        return thing

    def next_s(self, now_s: float) -> float | None:
        """When `take` may have something again; None while nothing is to come."""
        self._drop_outdated()
        if not self._heap:
            return None
        self._fill(now_s)
        ready_s = now_s if self._tokens >= _WHOLE else now_s + (1.0 - self._tokens) / self._per_s
        return max(self._heap[0][0], ready_s)

    def _fill(self, now_s: float) -> None:
        self._tokens = min(self._most, self._tokens + max(0.0, now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s

    def _drop_outdated(self) -> None:
        while self._heap and self._entry.get(id(self._heap[0][2])) != self._heap[0][1]:
            heapq.heappop(self._heap)
