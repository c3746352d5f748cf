"""Time behind one protocol, so that every decision can be replayed and tested without waiting.

Nothing else in Fairlead reads the time: code takes a `Clock`, defaulting to `SYSTEM`. `VirtualClock` is the twin for
tests and simulation: its sleepers wake in deadline order, ties by registration, only when `advance` is called.
"""

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time (seconds since the epoch), monotonic time (seconds, arbitrary origin) and sleep."""

    def wall_s(self) -> float: ...
    def monotonic_s(self) -> float: ...
    async def sleep(self, duration_s: float) -> None: ...


class SystemClock:
    """The machine's own clocks."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


class VirtualClock:
    """A clock that stands still until `advance` is awaited. Wall and monotonic time move together."""

    def __init__(self, wall_s: float = 1_700_000_000.0) -> None:
        self._origin_s = wall_s
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = itertools.count()

    def wall_s(self) -> float:
        return self._origin_s + self._elapsed_s

    def monotonic_s(self) -> float:
        return self._elapsed_s

    async def sleep(self, duration_s: float) -> None:
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + duration_s, next(self._sequence), woken))
        await woken

    async def advance(self, duration_s: float) -> None:
        """Move time forward, waking each sleeper at its own deadline and letting it run before the next one."""
        target_s = self._elapsed_s + duration_s
        await _let_others_run()
        while self._sleepers and self._sleepers[0][0] <= target_s:
            deadline_s, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_s = deadline_s
            if not woken.done():
                woken.set_result(None)
            await _let_others_run()
        self._elapsed_s = target_s


SYSTEM: Clock = SystemClock()


def format_time(wall_s: float) -> str:
    """RFC 3339 with whole seconds in UTC, the form of Kubernetes `metav1.Time`."""
    return datetime.fromtimestamp(int(wall_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(wall_s: float) -> str:
    """RFC 3339 with microseconds in UTC, the form of Kubernetes `metav1.MicroTime`."""
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. Raises ValueError for anything else."""
    return datetime.fromisoformat(text).timestamp()


async def _let_others_run() -> None:
    # Several turns: a woken sleeper may need more than one step of the loop before it sleeps again.
    for _ in range(10):
        await asyncio.sleep(0)
