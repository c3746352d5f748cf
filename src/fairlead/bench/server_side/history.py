"""What a page has said over time, in columns: flat memory however long a run is, and counters that never go back.

A counter is kept as its increase since the first look. A process that was restarted counts from nought again: what it
shows then is what it has done since, and what it did between the look before and its end is not known (so the increase
is a lower bound, and the time of the restart is kept to say so). That is how Prometheus's `increase` has it.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping

from fairlead.engines.signals import HistogramSignal

MAX_LOOKS = 4096
MAX_SNAPSHOTS = 512
MIXED_RESTARTS, MIXED_SHARE = 3, 0.1


class History:
    """Of one source. Times are readings of the monotonic clock, seconds; NaN in a column: it was not there."""

    def __init__(self, source: str, counters: Callable[[str], bool], one_process: bool = True) -> None:
        """`counters` tells them from gauges by name. `one_process`: all of them begin anew when one does."""
        self.source = source
        self.times = array("d")
        self.columns: dict[str, array[float]] = {}
        self.snapshots: list[tuple[float, Mapping[str, HistogramSignal]]] = []
        self.restarts: list[float] = []
        """When a look found counters that had begun anew."""
        self.failures: Counter[str] = Counter()  # why -> looks that gave nothing
        self.looks = 0
        self.thinned = 0
        """How often every second look was dropped, to keep the rest in memory."""
        self._is_counter, self._one_process = counters, one_process
        self._raw: dict[str, float] = {}
        self._total: dict[str, float] = {}
        self._started_s: float | None = None

    def add(
        self, at_s: float, values: Mapping[str, float], started_s: float | None = None,
        histograms: Mapping[str, HistogramSignal] | None = None,
    ) -> None:  # fmt: skip
        """A look that gave something. `started_s`: when the process says that it started, by its own clock."""
        self.looks += 1
        # A start that lies earlier than the one before is of another process, as a balancer brings it.
        restarted = started_s is not None and self._started_s is not None and abs(started_s - self._started_s) > 0.5
        lower = {name for name, value in values.items() if self._is_counter(name) and value < self._raw.get(name, 0.0)}
        if restarted or lower:
            self.restarts.append(at_s)
        self._started_s = started_s if started_s is not None else self._started_s
        anew = restarted or (self._one_process and bool(lower))
        row = {
            name: self._increase(name, value, anew or name in lower) if self._is_counter(name) else value
            for name, value in values.items()
        }
        self._append(at_s, row)
        if histograms:
            self.snapshots.append((at_s, histograms))
            if len(self.snapshots) > MAX_SNAPSHOTS:
                del self.snapshots[1:-1:2]

    def failed(self, at_s: float, why: str) -> None:
        """A look that gave nothing."""
        self.looks += 1
        self.failures[why] += 1
        self._append(at_s, {})

    @property
    def is_mixed(self) -> bool:
        """Whether several processes answer in turn, as behind a load balancer: their counters are no story together."""
        return len(self.restarts) >= MIXED_RESTARTS and len(self.restarts) > MIXED_SHARE * self.looks

    def column(self, name: str) -> array[float]:
        """As long as `times`."""
        return self.columns.get(name) or array("d", [math.nan]) * len(self.times)

    def count_from(self, origin_s: float) -> None:
        """Times are from the origin of the run from here on."""
        self.times = array("d", [at_s - origin_s for at_s in self.times])
        self.snapshots = [(at_s - origin_s, of) for at_s, of in self.snapshots]
        self.restarts = [at_s - origin_s for at_s in self.restarts]

    def _increase(self, name: str, value: float, restarted: bool) -> float:
        before = self._raw.get(name)
        step = 0.0 if before is None else value if restarted else value - before
        self._raw[name] = value
        self._total[name] = self._total.get(name, 0.0) + step
        return self._total[name]

    def _append(self, at_s: float, row: Mapping[str, float]) -> None:
        for name in row:
            if name not in self.columns:
                self.columns[name] = array("d", [math.nan]) * len(self.times)
        self.times.append(at_s)
        for name, column in self.columns.items():
            column.append(row.get(name, math.nan))
        if len(self.times) >= MAX_LOOKS:
            self._thin()

    def _thin(self) -> None:
        """The first and the last look stay: totals are between them."""
        kept = [*range(0, len(self.times) - 1, 2), len(self.times) - 1]
        self.times = array("d", [self.times[k] for k in kept])
        self.columns = {name: array("d", [column[k] for k in kept]) for name, column in self.columns.items()}
        self.thinned += 1
