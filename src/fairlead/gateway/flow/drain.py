"""How fast a queue drains, and when a client that finds no room should come again. Pure."""

from __future__ import annotations

import math

_WINDOW_S = 10.0
"""Requests sent longer ago than this hardly count: loads of engines change within seconds."""

_FORGET_S = 3 * _WINDOW_S
_MIN_SEEN_S = 1.0

UNKNOWN_RETRY_S = 5
"""Where nothing was sent from the queue yet: long enough to do no harm, short enough for a person."""
MAX_RETRY_S = 120

_GOLDEN = 0.618033988749895
_SPREAD = 0.25
"""Clients that were refused together are told times apart by up to this part, so that they do not come together."""


class DrainRate:
    """Requests sent per second while others wait: a count that fades with the time constant `_WINDOW_S`."""

    __slots__ = ("_began_s", "_count", "_last_s")

    def __init__(self) -> None:
        self._count = 0.0
        self._began_s = 0.0
        self._last_s = 0.0

    def waiting_began(self, now_s: float) -> None:
        """A request waits, and none did before. What was measured long ago says nothing of now."""
        if not self._count or now_s - self._last_s > _FORGET_S:
            self._count, self._began_s, self._last_s = 0.0, now_s, now_s

    def sent(self, now_s: float) -> None:
        if now_s > self._last_s:
            self._count *= math.exp((self._last_s - now_s) / _WINDOW_S)
            self._last_s = now_s
        self._count += 1.0

    def per_s(self, now_s: float) -> float | None:
        """None while nothing is known, because none was sent."""
        if not self._count:
            return None
        faded = self._count * math.exp((self._last_s - now_s) / _WINDOW_S)
        # The window is not full in the beginning, and a burst of an instant is no rate.
        seen_s = max(_MIN_SEEN_S, now_s - self._began_s)
        return faded / (_WINDOW_S * -math.expm1(-seen_s / _WINDOW_S))


def compute_retry_after_s(ahead: int, rate_per_s: float | None, number: int) -> int:
    """Whole seconds until the requests `ahead` are gone, at most `MAX_RETRY_S`. `number` tells those refused together
    different times."""
    if rate_per_s is None or rate_per_s <= 0.0:
        wait_s = float(UNKNOWN_RETRY_S)
    else:
        wait_s = (ahead + 1) / rate_per_s
    spread = 1.0 + _SPREAD * ((number * _GOLDEN) % 1.0)
    return max(1, math.ceil(min(MAX_RETRY_S, wait_s * spread)))
