"""What drivers say of their devices' health, and how long it holds. Pure; times are monotonic seconds.

A report holds for the time its driver gives (30 s by default), as the kubelet has it; after that, and when the stream
ends, the device's health is Unknown again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DEFAULT_TIMEOUT_S = 30.0
MAX_MESSAGE_BYTES = 1024
"""What the API takes in a device's status."""

DeviceKey = tuple[str, str, str]
"""Driver, pool and device."""


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """`health` is Healthy, Unhealthy or Unknown; `message` may be empty."""

    health: str = "Unknown"
    message: str = ""


UNKNOWN = DeviceHealth()


@dataclass(frozen=True, slots=True)
class _Report:
    health: DeviceHealth
    expires_s: float


class HealthTable:
    """Reports by source: the instances of one driver, of which two may run during a rolling update."""

    def __init__(self) -> None:
        self._reports: dict[DeviceKey, dict[str, _Report]] = {}  # -> source -> its latest report, newest last

    def report(
        self, driver: str, source: str, devices: Iterable[tuple[str, str, DeviceHealth, float]], now_s: float
    ) -> set[DeviceKey]:
        """Take in (pool, device, health, seconds it holds, 0 for the default); returns the devices that changed."""
        changed: set[DeviceKey] = set()
        for pool, device, health, timeout_s in devices:
            key = (driver, pool, device)
            before = self.health(key, now_s)
            known = self._reports.setdefault(key, {})
            known.pop(source, None)
            known[source] = _Report(_cut(health), now_s + (timeout_s if timeout_s > 0 else DEFAULT_TIMEOUT_S))
            if self.health(key, now_s) != before:
                changed.add(key)
        return changed

    def forget(self, source: str, now_s: float) -> set[DeviceKey]:
        """The source's stream has ended; returns the devices that changed."""
        changed: set[DeviceKey] = set()
        for key, known in list(self._reports.items()):
            if source in known:
                before = self.health(key, now_s)
                del known[source]
                if self.health(key, now_s) != before:
                    changed.add(key)
                if not known:
                    del self._reports[key]
        return changed

    def health(self, key: DeviceKey, now_s: float) -> DeviceHealth:
        """By the newest report that still holds."""
        for report in reversed((self._reports.get(key) or {}).values()):
            if now_s < report.expires_s:
                return report.health
        return UNKNOWN

    def expired(self, since_s: float, now_s: float) -> set[DeviceKey]:
        """Devices of which a report ran out in this time."""
        return {
            key
            for key, known in self._reports.items()
            if any(since_s < report.expires_s <= now_s for report in known.values())
        }


def _cut(health: DeviceHealth) -> DeviceHealth:
    text = health.message.encode()
    if len(text) <= MAX_MESSAGE_BYTES:
        return health
    return DeviceHealth(health.health, text[: MAX_MESSAGE_BYTES - 3].decode(errors="ignore") + "...")
