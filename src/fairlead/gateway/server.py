"""The picker's gRPC server: external processor, access-log sink and health, for Fairlead's own Envoy and for others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.completions import AccessLog
from fairlead.gateway.extproc import OWN, BodyMemory, Listener, Session
from fairlead.gateway.grpcio_calls import GrpcioServer
from fairlead.gateway.health import Check, Health, Watch
from fairlead.gateway.route import Directing
from fairlead.gateway.transport.call import Services

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
ACCESS_LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"

_LOOK_INTERVAL_S = 5.0
"""How often bodies that take too long are looked for."""


class PickerServer:
    """Serves gateways on any number of addresses until stopped."""

    def __init__(
        self, directing: Directing, *, ready: Callable[[], bool] = lambda: True, clock: Clock = SYSTEM
    ) -> None:
        self._directing = directing
        self._clock = clock
        self._memory = BodyMemory()
        self._servers: list[GrpcioServer] = []
        self._looking: asyncio.Task[None] | None = None
        self.health = Health(ready)

    async def start(self, address: str, listener: Listener = OWN) -> str:
        """Listen on `unix:/path` or `host:port`; returns the address, with the port that was given for 0.

        Raises OSError or RuntimeError when the address cannot be bound.
        """
        server = GrpcioServer(self._services(listener))
        bound = await server.start(address)
        self._servers.append(server)
        if self._looking is None:
            self._looking = asyncio.create_task(self._expire())
        return bound

    async def stop(self, grace_s: float = 0.3) -> None:
        """No new calls; those that are open have `grace_s` to end."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))

    def _services(self, listener: Listener) -> Services:
        directing, memory, clock, health = self._directing, self._memory, self._clock, self.health
        return {
            PROCESS: lambda stream, _: Session(stream, directing, listener, memory, clock),
            ACCESS_LOGS: lambda stream, _: AccessLog(stream, directing),
            HEALTH_CHECK: lambda stream, _: Check(stream, health),
            HEALTH_WATCH: lambda stream, _: Watch(stream, health),
        }

    async def _expire(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_INTERVAL_S)
            self._memory.expire(self._clock.monotonic_s())
