"""How late the event loop is: what it cannot keep up with, it stamps late, and figures must say so."""

from __future__ import annotations

import asyncio
import time

from fairlead.bench.worker.alarm import Alarm

_now = time.monotonic  # noqa: TID251 (the hot path reads the clock itself)
EVERY_S = 0.02
WORTH_TELLING_S = 1e-3
"""A loop this late has stamps that are late by about as much until it has caught up."""


class Beat:
    """A look at the clock every 20 ms. One that is overdue says how long the loop has stood still, or been busy; what
    it works off afterwards has lain there for up to as long."""

    __slots__ = ("_alarm", "_behind_s", "_due_s", "_lags", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, alarm: Alarm) -> None:
        self._loop, self._alarm = loop, alarm
        self._due_s = float("inf")  # of the next look
        self._behind_s = 0.0  # what is being worked off
        self._lags: list[float] = []

    def begin(self) -> None:
        self._look(_now())

    def late_s(self, now_s: float) -> float:
        """By how much a stamp that is made now may be late."""
        overdue_s = now_s - self._due_s
        return overdue_s if overdue_s > self._behind_s else self._behind_s

    def taken(self) -> list[float]:
        """By how much each look was late since the last call."""
        lags, self._lags = self._lags, []
        return lags

    def _look(self, due_s: float) -> None:
        now_s = _now()
        lag_s = now_s - due_s
        self._lags.append(lag_s)
        if lag_s > WORTH_TELLING_S:
            # What has come meanwhile is read in this round of the loop; the next one is on time again.
            self._behind_s = lag_s
            self._loop.call_soon(self._caught_up)
        self._due_s = following_s = now_s + EVERY_S
        self._alarm.at(following_s, lambda: self._look(following_s))

    def _caught_up(self) -> None:
        self._behind_s = 0.0
