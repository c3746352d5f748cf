"""The name server: UDP and TCP on one loopback address, answers from the controllers' copies.

dnspython is imported with the first query: most starts of the platform see none for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.dns import CLUSTER_DOMAIN, PORT
from fairlead.embedded.dns.forward import forward
from fairlead.embedded.dns.records import Cluster

if TYPE_CHECKING:
    from fairlead.embedded.dns.messages import Resolver

BIND_RETRY_S = 1.0
IDLE_S = 30.0
"""How long a TCP client may stay silent."""

_LOG = logging.getLogger("fairlead.dns")


class NameServer:
    """Serves one cluster. `serve` runs until cancelled."""

    def __init__(
        self, cluster: Cluster, address: str, *, port: int = PORT, domain: str = CLUSTER_DOMAIN,
        upstream: list[str] | None = None, clock: Clock = SYSTEM,
    ) -> None:  # fmt: skip
        """`upstream` are servers for other names; None: the machine's."""
        self.address = address
        self.port = port
        self._cluster = cluster
        self._domain = domain
        self._upstream = upstream
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.started = asyncio.Event()

    @cached_property
    def _resolver(self) -> Resolver:
        from fairlead.embedded.dns.messages import Resolver

        return Resolver(self._cluster, self._domain)

    async def serve(self) -> None:
        """Listen, and try again where that cannot be done yet."""
        told = ""
        while True:
            try:
                await self._listen()
            except OSError as error:
                if str(error) != told:
                    told = str(error)
                    _LOG.warning(
                        "cluster DNS cannot listen on %s:%d (%s): pods do not find each other by name",
                        self.address, self.port, error.strerror or error,
                    )  # fmt: skip
                await self._clock.sleep(BIND_RETRY_S)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._take), local_addr=(self.address, self.port)
        )
        try:
            port = transport.get_extra_info("sockname")[1]
            server = await asyncio.start_server(self._converse, self.address, port)
            self.port = port
            async with server:
                self.started.set()
                await server.serve_forever()
        finally:
            transport.close()
            for task in self._tasks:
                task.cancel()

    def _take(self, wire: bytes, reply: Callable[[bytes], None]) -> None:
        try:
            answer = self._resolver.answer(wire, is_udp=True)
        except Exception:
            _LOG.exception("a query could not be answered")
            return
        if answer is None:
            # Others may take their time.
            task = asyncio.create_task(self._ask_others(wire, reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif answer:
            reply(answer)

    async def _ask_others(self, wire: bytes, reply: Callable[[bytes], None]) -> None:
        reply(await self._forwarded(wire, is_udp=True))

    async def _forwarded(self, wire: bytes, *, is_udp: bool) -> bytes:
        from fairlead.embedded.dns.messages import failure

        answer = await forward(wire, self.address, is_udp=is_udp, servers=self._upstream)
        return failure(wire) if answer is None else answer

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            while True:
                async with asyncio.timeout(IDLE_S):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    wire = await reader.readexactly(length)
                answer = self._resolver.answer(wire, is_udp=False)
                if answer is None:
                    answer = await self._forwarded(wire, is_udp=False)
                if not answer:
                    break
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, Callable[[bytes], None]], None]) -> None:
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transport is of another class.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data, lambda answer: self._send(answer, addr))

    def _send(self, answer: bytes, addr: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(answer, addr)
