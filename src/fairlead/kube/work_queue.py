"""A queue of keys that need work, with client-go's guarantees.

A key is never worked on by two workers at once, is queued at most once however often it is added, and is never lost:
added while being worked on, it is handed out again afterwards. Delayed keys wait on the queue's clock.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class QueueClosed(Exception):
    """The queue gives out no more keys."""


@dataclass(frozen=True, slots=True)
class Taken(Generic[K]):
    """A key handed to a worker, and how long it had waited."""

    key: K
    waited_s: float


class WorkQueue(Generic[K]):
    """Keys in order of arrival. Every key that `get` returns must be given to `done`."""

    def __init__(self, *, backoff: Backoff | None = None, clock: Clock = SYSTEM) -> None:
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._order: deque[K] = deque()
        # Key -> when it became ready; its keys are exactly those that wait for a worker or for `done`.
        self._dirty: dict[K, float] = {}
        self._working: set[K] = set()
        # Key -> failures in a row.
        self._failures: dict[K, int] = {}
        # Key -> the earliest time at which it is due.
        self._due: dict[K, float] = {}
        self._schedule: list[tuple[float, int, K]] = []
        self._sequence = itertools.count()
        self._timer: asyncio.Task[None] | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self.adds = 0
        self.retries = 0

    def __len__(self) -> int:
        """Keys ready and not yet handed out."""
        return len(self._order)

    @property
    def delayed(self) -> int:
        return len(self._due)

    def add(self, key: K) -> None:
        """Have `key` worked on, after what is queued before it."""
        if self._closed or key in self._dirty:
            return
        self.adds += 1
        self._dirty[key] = self._clock.monotonic_s()
        if key not in self._working:
            self._order.append(key)
            self._wake_one()

    def add_after(self, key: K, delay_s: float) -> None:
        """Have `key` worked on in `delay_s`, or when it was due already, whichever is earlier."""
        if delay_s <= 0:
            return self.add(key)
        due_s = self._clock.monotonic_s() + delay_s
        if self._closed or self._due.get(key, float("inf")) <= due_s:
            return
        self._due[key] = due_s
        heapq.heappush(self._schedule, (due_s, next(self._sequence), key))
        if self._schedule[0][2] == key:
            self._restart_timer()

    def add_failed(self, key: K) -> float:
        """Have `key` worked on again after a delay that grows with its failures in a row. Returns the delay."""
        self._failures[key] = self._failures.get(key, 0) + 1
        self.retries += 1
        delay_s = self._backoff.delay_s(self._failures[key])
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """Count the failures of `key` from zero again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> Taken[K]:
        """The next key. Raises QueueClosed once the queue is closed, even if keys are left."""
        while not self._closed:
            if self._order:
                key = self._order.popleft()
                ready_s = self._dirty.pop(key)
                self._working.add(key)
                return Taken(key, self._clock.monotonic_s() - ready_s)
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    # Woken and cancelled at once: the wake-up belongs to someone else.
                    self._wake_one()
                raise
        raise QueueClosed

    def done(self, key: K) -> None:
        """Say that the work on `key` has ended, well or not."""
        self._working.discard(key)
        if key in self._dirty and not self._closed:
            self._order.append(key)
            self._wake_one()

    def close(self) -> None:
        """Give out no more keys and wake all who wait."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._getters:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().create_task(self._release_due())

    async def _release_due(self) -> None:
        while self._schedule:
            due_s, _, key = self._schedule[0]
            wait_s = due_s - self._clock.monotonic_s()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
                continue
            heapq.heappop(self._schedule)
            # An entry that was overtaken by an earlier one for the same key has no effect.
            if self._due.get(key) == due_s:
                del self._due[key]
                self.add(key)
        self._timer = None
