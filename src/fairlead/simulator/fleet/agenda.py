"""What will happen when: a heap of calls in order of time, and of entry among equals.

Work is what can still change the fate of a request; ticks (samples, scaling, random failures) go on for ever and are
counted apart, so that the end of all work can be told.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import inf
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[float, Any], None]


class Agenda:
    """`at` enters a call `function(now_s, subject)`; `run_until` makes those that are due."""

    __slots__ = ("_entries", "_number", "now_s", "work")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Call, Any, bool]] = []
        self._number = 0
        self.now_s = 0.0
        self.work = 0
        """Entries that are not ticks."""

    def at(self, time_s: float, function: Call, subject: Any, *, tick: bool = False) -> None:
        """Call `function` at `time_s`; never for infinity."""
        if time_s == inf:
            return
        self._number += 1
        if not tick:
            self.work += 1
        heapq.heappush(self._entries, (time_s, self._number, function, subject, tick))

    @property
    def next_s(self) -> float:
        return self._entries[0][0] if self._entries else inf

    def run_until(self, time_s: float) -> None:
        """Everything up to and including `time_s`."""
        entries = self._entries
        while entries and entries[0][0] <= time_s:
            at_s, _, function, subject, tick = heapq.heappop(entries)
            if not tick:
                self.work -= 1
            self.now_s = at_s
            function(at_s, subject)
        if time_s != inf:
            self.now_s = time_s

    def run_next(self) -> None:
        """The next entry."""
        self.run_until(self.next_s)
