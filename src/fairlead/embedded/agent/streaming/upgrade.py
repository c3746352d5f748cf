"""Take a connection over from aiohttp after an HTTP upgrade, as a plain pair of asyncio streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

BUFFER_BYTES = 1 << 18


class Hijacked(web.StreamResponse):
    """What a handler returns once the connection no longer belongs to aiohttp: nothing more is written to it."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


@contextlib.asynccontextmanager
async def hijack(request: web.Request) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The request's connection as streams. Nothing has been answered yet; the connection is closed at the end.

    Raises ConnectionResetError if the client is already gone.
    """
    transport, before = request.transport, request.protocol
    if transport is None:
        raise ConnectionResetError("the client closed the connection")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(BUFFER_BYTES, loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    try:
        yield reader, writer
    finally:
        # aiohttp keeps account of its connections: it must see this one end.
        if not transport.is_closing():
            transport.set_protocol(before)
            transport.close()
        else:
            before.connection_lost(None)


def response_head(status: int, reason: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes until the reader ends, then end the writer's side. Connection errors count as the end."""
    with contextlib.suppress(ConnectionError, OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(ConnectionError, OSError, RuntimeError, NotImplementedError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
