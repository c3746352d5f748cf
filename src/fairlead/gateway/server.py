"""The picker's gRPC server: external processor, access-log sink and health, for Fairlead's own Envoy and for others.

Fairlead's Envoy comes over a unix socket, or over TCP from another machine; a foreign gateway over TCP with TLS, as the
Endpoint Picker Protocol has it (port 9002, health on 9003).
"""

from __future__ import annotations

import asyncio
import contextlib

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.completions import AccessLog
from fairlead.gateway.extproc import OWN, BodyMemory, Listener, Session
from fairlead.gateway.route import Directing
from fairlead.gateway.transport import FastServer, Health, HealthServer, ReferenceServer, ServerTls, Services

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
ACCESS_LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

EXT_PROC_PORT = 9002
HEALTH_PORT = 9003
"""Where foreign gateways and their probes expect a picker."""

_LOOK_INTERVAL_S = 5.0
"""How often bodies that take too long are looked for."""


class PickerServer:
    """Serves gateways on any number of addresses until stopped.

    `health` says from the start that the picker serves; who starts it before endpoints are known makes one that does
    not, and sets it later.
    """

    def __init__(
        self,
        directing: Directing,
        *,
        health: Health | None = None,
        clock: Clock = SYSTEM,
        reference: bool = False,
        body_memory_bytes: int | None = None,
    ) -> None:
        """`reference` serves on grpcio in place of the picker's own server. `body_memory_bytes` bounds the bodies of
        all requests that are not decided yet."""
        self.health = health or Health()
        self._directing = directing
        self._clock = clock
        self._reference = reference
        self._memory = BodyMemory() if body_memory_bytes is None else BodyMemory(body_memory_bytes)
        self._servers: list[FastServer | ReferenceServer] = []
        self._looking: asyncio.Task[None] | None = None

    async def start(self, address: str, listener: Listener = OWN, *, tls: ServerTls | None = None) -> str:
        """Listen on `unix:/path` or `host:port`; returns the address with its real port. Raises ValueError for another
        form and OSError when the address cannot be bound."""
        services = self._services(listener)
        server = (
            ReferenceServer(services, tls=tls) if self._reference else FastServer(services, tls=tls, clock=self._clock)
        )
        return await self._started(server, address)

    async def start_health(self, address: str, *, tls: ServerTls | None = None) -> str:
        """Health on an address of its own, which answers even when the picker's own server does not."""
        return await self._started(HealthServer(self.health, tls=tls), address)

    async def stop(self, grace_s: float = 0.3) -> None:
        """Say that nothing more is served, and give open calls `grace_s` to end."""
        self.health.set(False)
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))

    async def _started(self, server: FastServer | ReferenceServer, address: str) -> str:
        await server.start(address)
        self._servers.append(server)
        if self._looking is None:
            self._looking = asyncio.create_task(self._expire())
        return server.address

    def _services(self, listener: Listener) -> Services:
        directing, memory, clock = self._directing, self._memory, self._clock
        return {
            **self.health.services(),
            PROCESS: lambda stream, _: Session(stream, directing, listener, memory, clock),
            ACCESS_LOGS: lambda stream, _: AccessLog(stream, directing),
        }

    async def _expire(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_INTERVAL_S)
            self._memory.expire(self._clock.monotonic_s())
