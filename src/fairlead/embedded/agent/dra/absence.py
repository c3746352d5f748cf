"""Drivers that were on the node and are not usable any more, and for how long. Pure.

A node without its driver must not go on offering devices: the scheduler would send pods that cannot start. After a
time that is long enough for a restart (30 s, as the kubelet has it), the driver's ResourceSlices of the node are
deleted; the driver publishes them again when it is back. Only drivers that this agent has seen count.
"""

from __future__ import annotations

from collections.abc import Mapping

LIMIT_S = 30.0


class Absences:
    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._since_s: dict[str, float | None] = {}
        """Driver -> since when it is away (monotonic); None while it is there."""
        self._settled: set[str] = set()

    @property
    def drivers(self) -> list[str]:
        """Every driver whose presence matters."""
        return sorted(self._since_s)

    def seen(self, driver: str) -> None:
        """The driver registered."""
        self._since_s[driver] = None
        self._settled.discard(driver)

    def look(self, usable: Mapping[str, bool], now_s: float) -> list[str]:
        """Take in which drivers can be called now; returns those that are away for too long."""
        overdue = []
        for driver, since_s in self._since_s.items():
            if usable[driver]:
                # A driver that hung comes back, and publishes, without registering anew.
                self.seen(driver)
            elif since_s is None:
                self._since_s[driver] = now_s
            elif driver not in self._settled and now_s - since_s >= self._limit_s:
                overdue.append(driver)
        return overdue

    def settled(self, driver: str) -> None:
        """Its slices are deleted: it counts again once it is back."""
        self._settled.add(driver)
