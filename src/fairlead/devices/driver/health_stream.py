"""The health of a node's devices as the kubelet watches it: everything first, then at each change and at intervals.

The kubelet takes what is older than `health_check_timeout_seconds` as unknown, so the picture is repeated well within
it. Any number of watchers; one that is slow gets the newest picture, not all in between. Source: the kubelet's
`cm/dra/healthinfo.go` and `pkg/apis/dra-health`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.driver.state import NodeView
from fairlead.devices.health import Health
from fairlead.kube.kubelet import Service
from fairlead.kube.kubelet.messages import HEALTHY, UNHEALTHY, UNKNOWN

_STATUS: Final = {"healthy": HEALTHY, "unhealthy": UNHEALTHY, "unknown": UNKNOWN}
_MAX_MESSAGE: Final = 1024
REFRESH_S: Final = 10.0
TIMEOUT_S: Final = 30
"""The kubelet's own default; three refreshes fit in."""


class HealthStream:
    """`tell` it each view; `watch` is the gRPC method."""

    def __init__(
        self,
        pool: str,
        *,
        refresh_s: float = REFRESH_S,
        timeout_s: int = TIMEOUT_S,
        on_watchers: Callable[[int], None] = lambda count: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._pool = pool
        self._refresh_s = refresh_s
        self._timeout_s = timeout_s
        self._on_watchers = on_watchers
        self._clock = clock
        self._view: NodeView | None = None
        self._changed = asyncio.Event()
        self._watchers = 0
        self._is_closed = False

    def tell(self, view: NodeView) -> None:
        self._view = view
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        self._wake()

    def watch(self, service: Service) -> Callable[[Any, Any], AsyncIterator[Any]]:
        """The method NodeWatchResources of a version of the service."""

        async def node_watch_resources(request: Any, context: Any) -> AsyncIterator[Any]:
            self._count(1)
            try:
                while not self._is_closed:
                    changed = self._changed
                    if self._view is not None:
                        yield self._picture(service, self._view)
                    await self._next(changed)
            finally:
                self._count(-1)

        return node_watch_resources

    async def _next(self, changed: asyncio.Event) -> None:
        """Until something changes or the picture is due again."""
        sleep = asyncio.ensure_future(self._clock.sleep(self._refresh_s))
        wait = asyncio.ensure_future(changed.wait())
        try:
            await asyncio.wait((sleep, wait), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            wait.cancel()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _count(self, change: int) -> None:
        self._watchers += change
        self._on_watchers(self._watchers)

    def _picture(self, service: Service, view: NodeView) -> Any:
        device_health = service.message("DeviceHealth")
        identifier = service.message("DeviceIdentifier")
        now_s = int(self._clock.wall_s())
        devices = []
        for device in view.inventory.devices:
            health = view.health(device.name)
            devices.append(
                device_health(
                    device=identifier(pool_name=self._pool, device_name=device.name),
                    health=_STATUS[health.state],
                    last_updated_time=now_s,
                    health_check_timeout_seconds=self._timeout_s,
                    message=message_of(health),
                )
            )
        return service.message("NodeWatchResourcesResponse")(devices=devices)


def message_of(health: Health) -> str:
    """What `kubectl describe pod` shows beside the state; empty for a device that is well."""
    if health.state == "healthy":
        return ""
    text = f"{health.reason}: {health.message}" if health.reason and health.message else health.message or health.reason
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"
