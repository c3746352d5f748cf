"""Names that are not the cluster's: asked of the machine's own name servers, as the machine would.

Protocol: resolv.conf(5). Servers are asked in their order; the next one where one does not answer in time.
"""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
TIMEOUT_S = 2.0
"""Of one server: a client waits five seconds before it asks again."""


def name_servers(resolv_conf: str) -> list[str]:
    """The `nameserver` lines, in order; the machine itself where there are none."""
    lines = (line.split() for line in resolv_conf.splitlines())
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return found or ["127.0.0.1"]


async def forward(wire: bytes, own: str, *, is_udp: bool, servers: list[str] | None = None) -> bytes | None:
    """The answer of the first server that gives one, or None. `own` is our address, which is never asked."""
    if servers is None:
        servers = name_servers(await asyncio.to_thread(_read))
    for server in servers:
        if server == own:
            continue
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await (_by_udp(wire, server) if is_udp else _by_tcp(wire, server))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            continue
    return None


def _read() -> str:
    try:
        return RESOLV_CONF.read_text(errors="replace")
    except OSError:
        return ""


class _Question(asyncio.DatagramProtocol):
    def __init__(self, wire: bytes) -> None:
        self._id = wire[:2]
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._id and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _by_udp(wire: bytes, server: str) -> bytes:
    host, port = _place(server)
    loop = asyncio.get_running_loop()
    transport, question = await loop.create_datagram_endpoint(lambda: _Question(wire), remote_addr=(host, port))
    try:
        transport.sendto(wire)
        return await question.answer
    finally:
        transport.close()
        question.answer.cancel()


async def _by_tcp(wire: bytes, server: str) -> bytes:
    reader, writer = await asyncio.open_connection(*_place(server))
    try:
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()


def _place(server: str) -> tuple[str, int]:
    """An address, or `ADDRESS#PORT` as dnsmasq writes one with a port."""
    host, _, port = server.partition("#")
    return host, int(port or PORT)
