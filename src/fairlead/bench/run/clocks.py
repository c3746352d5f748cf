"""How far a worker's monotonic clock is from the coordinator's, and how sure that is. Pure.

No clock is trusted to be right. A reading of the worker's clock that was asked for at `sent` and came at `received`
(both by the coordinator's) was made in between, so the offset (worker less coordinator) is between `reading - received`
and `reading - sent`: always, however unlike the two ways are. Several exchanges narrow that to where all of them agree
(Marzullo 1984, "Maintaining the time in a distributed system"). Over minutes clocks drift, so only the last exchanges
say where they are now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

KEPT = 16
"""Exchanges that say how the clocks stand now."""


class Offset(msgspec.Struct, frozen=True):
    """Bounds of an offset, in nanoseconds: it is in between."""

    low_ns: int
    high_ns: int

    @property
    def middle_ns(self) -> int:
        return (self.low_ns + self.high_ns) // 2

    @property
    def error_ns(self) -> int:
        """How far the middle may be from the truth."""
        return max(self.high_ns - self.middle_ns, self.middle_ns - self.low_ns)


def exchanged(sent_ns: int, reading_ns: int, received_ns: int) -> Offset:
    """What one exchange says."""
    return Offset(reading_ns - received_ns, reading_ns - sent_ns)


def agreed(offsets: Iterable[Offset]) -> Offset:
    """Where all agree; where they do not (a clock drifted, or was set), the narrowest, which holds for its own time.
    Raises ValueError of none."""
    listed = list(offsets)
    low, high = max(o.low_ns for o in listed), min(o.high_ns for o in listed)
    return Offset(low, high) if low <= high else min(listed, key=lambda o: o.high_ns - o.low_ns)


class WorkerClock:
    """The clock of one worker: `begin` settles how the run's origin is told to it, later exchanges how wrong that has
    become."""

    def __init__(self) -> None:
        self.began: Offset | None = None
        self.worst_ns = 0
        self._last: deque[Offset] = deque(maxlen=KEPT)

    def add(self, sent_ns: int, reading_ns: int, received_ns: int) -> None:
        """One exchange, by the clocks of coordinator, worker and coordinator."""
        self._last.append(exchanged(sent_ns, reading_ns, received_ns))
        if self.began is not None:
            self.worst_ns = max(self.worst_ns, self.wrong_ns)

    def begin(self) -> int:
        """The offset to reckon with from here on. Raises ValueError before any exchange."""
        self.began = agreed(self._last)
        self._last.clear()
        self.worst_ns = self.began.error_ns
        return self.began.middle_ns

    @property
    def far_ns(self) -> int:
        """How far the worker is, at most: as long as a message to it may take, by the last exchanges. 0 without any."""
        return max((offset.high_ns - offset.low_ns for offset in self._last), default=0)

    @property
    def wrong_ns(self) -> int:
        """By how much times of the worker, as they are reckoned, may be off at most, by the last exchanges."""
        if self.began is None:
            return 0
        now, used_ns = self._now(self.began), self.began.middle_ns
        return max(abs(now.low_ns - used_ns), abs(now.high_ns - used_ns))

    @property
    def drift_ns(self) -> int:
        """How far the clocks have moved apart since `begin`, as well as that can be said."""
        return 0 if self.began is None else self._now(self.began).middle_ns - self.began.middle_ns

    def _now(self, began: Offset) -> Offset:
        return agreed(self._last) if self._last else began
