"""How often an engine is asked, so that all of them together cost no more than is set, however many there are. Pure.

Replicas that leave are asked often, as somebody waits for them; suspects often enough to tell a hang from a pause;
those with work in turn, to notice what begins to hang; and those that were idle in a turn of their own.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal

Urgency = Literal["leaving", "suspect", "busy", "calm"]
URGENCIES: Final[tuple[Urgency, ...]] = ("leaving", "suspect", "busy", "calm")


@dataclass(frozen=True, slots=True)
class Rate:
    """The shortest interval between two looks at one engine, and looks a second at all of the same urgency."""

    interval_s: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Of each urgency. A look costs some 1.3 ms of a core, most of it the connection (benchmarks/serving_watch.py)."""

    leaving: Rate = Rate(0.25, 200.0)
    suspect: Rate = Rate(2.0, 30.0)
    busy: Rate = Rate(5.0, 20.0)
    calm: Rate = Rate(5.0, 12.0)

    def of(self, urgency: Urgency) -> Rate:
        rate: Rate = getattr(self, urgency)
        return rate

    def interval_s(self, urgency: Urgency, count: int) -> float:
        """Until the next look at one of `count` engines of this urgency."""
        rate = self.of(urgency)
        return max(rate.interval_s, count / rate.per_s)


def spread(interval_s: float, name: str, turn: int) -> float:
    """The interval, up to a tenth shorter or longer, so that engines that came together do not stay in step."""
    return interval_s * (0.9 + 0.2 * _fraction(name, turn))


def within(interval_s: float, name: str) -> float:
    """Some time within the interval, the same for the same name."""
    return interval_s * _fraction(name, 0)


def _fraction(name: str, turn: int) -> float:
    return (zlib.crc32(b"%d" % turn, zlib.crc32(name.encode())) % 1024) / 1024
