"""Follow the health streams of a node's drivers, and tell of every device whose health is another now."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.dra.health import DeviceHealth, DeviceKey, HealthTable
from fairlead.embedded.agent.dra.plugins import Plugin

EXPIRY_LOOK_S = 0.5
_FIRST_RETRY_S, _LAST_RETRY_S = 0.2, 5.0
_log = logging.getLogger(__name__)


class HealthWatch:
    """`changed` is told the devices."""

    def __init__(self, changed: Callable[[set[DeviceKey]], None], clock: Clock = SYSTEM) -> None:
        self._changed = changed
        self._clock = clock
        self._table = HealthTable()
        self._looked_s = clock.monotonic_s()

    def health(self, key: DeviceKey) -> DeviceHealth:
        return self._table.health(key, self._clock.monotonic_s())

    def look_for_expired(self) -> None:
        """Tell of reports that have run out since the last look; to be called every EXPIRY_LOOK_S."""
        now_s = self._clock.monotonic_s()
        self._tell(self._table.expired(self._looked_s, now_s))
        self._looked_s = now_s

    async def follow(self, plugin: Plugin) -> None:
        """One instance's stream, begun again whenever it ends; cancelled once it is not registered any more.

        Its devices are Unknown between two streams. Returns where the plugin offers no health at all.
        """
        from fairlead.embedded.agent.dra.connection import CallError, NotServed

        versions, delay_s = list(plugin.chosen.health), _FIRST_RETRY_S
        while versions:
            try:
                async for devices in plugin.connection.watch_health(versions[0]):
                    delay_s = _FIRST_RETRY_S
                    entries = [(d.pool, d.device, DeviceHealth(d.health, d.message), d.timeout_s) for d in devices]
                    now_s = self._clock.monotonic_s()
                    self._tell(self._table.report(plugin.driver, plugin.chosen.endpoint, entries, now_s))
            except NotServed:
                versions.pop(0)
                continue
            except CallError as error:
                _log.info("driver %s: %s", plugin.driver, error)
            finally:
                self._tell(self._table.forget(plugin.chosen.endpoint, self._clock.monotonic_s()))
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, _LAST_RETRY_S)

    def _tell(self, devices: set[DeviceKey]) -> None:
        if devices:
            self._changed(devices)
