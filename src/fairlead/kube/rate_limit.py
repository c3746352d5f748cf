"""A token bucket: so many a second on average, so many at once."""

from __future__ import annotations

from fairlead.clock import SYSTEM, Clock


class RateLimit:
    """Lets `burst` through at once and `per_s` a second after that."""

    def __init__(self, per_s: float, burst: int = 1, *, clock: Clock = SYSTEM) -> None:
        if per_s <= 0 or burst < 1:
            raise ValueError(f"rate limit of {per_s} per second, burst {burst}: both must be positive")
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._counted_at_s = clock.monotonic_s()

    def try_take(self) -> bool:
        """Take a token if there is one."""
        self._count()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take(self) -> None:
        """Take a token, waiting for it in turn."""
        self._count()
        # Going below zero reserves a later token: who comes next waits longer.
        self._tokens -= 1
        if self._tokens < 0:
            await self._clock.sleep(-self._tokens / self._per_s)

    def _count(self) -> None:
        now_s = self._clock.monotonic_s()
        self._tokens = min(float(self._burst), self._tokens + (now_s - self._counted_at_s) * self._per_s)
        self._counted_at_s = now_s
