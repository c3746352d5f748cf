"""Port-forward: join a client's streams to TCP ports of a pod.

Over SPDY (bare, or tunnelled in a WebSocket) each connection is a pair of streams, `error` and `data`, that share a
`requestid` and name a `port`. In the older WebSocket protocol each port in the query has two channels, data and error,
which begin with the port as two bytes, little-endian.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Sequence

from aiohttp import WSMsgType, web

from fairlead.embedded.agent.streaming.spdy_connection import SpdyConnection, SpdyStream

WEBSOCKET_PROTOCOLS = ("v4.channel.k8s.io", "portforward.k8s.io")
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
SPDY_PROTOCOL = "portforward.k8s.io"
_CHUNK_BYTES = 1 << 15
_CONNECT_TIMEOUT_S = 10.0


async def serve_spdy(connection: SpdyConnection, pod_ip: str) -> None:
    """Serve until the client closes the connection."""
    serving = asyncio.ensure_future(connection.serve())
    pairs: dict[str, dict[str, SpdyStream]] = {}
    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            stream = await connection.accept()
            request = stream.headers.get("requestid") or str(stream.number)
            pair = pairs.setdefault(request, {})
            pair[stream.headers.get("streamtype", "")] = stream
            if {"data", "error"} <= pair.keys():
                del pairs[request]
                task = asyncio.create_task(_forward(pair["data"], pair["error"], pod_ip))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    except ConnectionError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        serving.cancel()


async def serve_websocket(socket: web.WebSocketResponse, pod_ip: str, ports: Sequence[int]) -> None:
    """Serve the channel protocol until the client closes."""
    writers: dict[int, asyncio.StreamWriter] = {}
    readers: list[asyncio.Task[None]] = []
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await socket.send_bytes(bytes([channel]) + struct.pack("<H", port))
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                reader, writers[2 * index] = await asyncio.open_connection(pod_ip, port)
        except (OSError, TimeoutError) as error:
            await socket.send_bytes(bytes([2 * index + 1]) + refusal(port, pod_ip, error).encode())
            continue
        readers.append(asyncio.create_task(_send_channel(socket, 2 * index, reader)))
    try:
        async for message in socket:
            if message.type == WSMsgType.BINARY and message.data[0] in writers:
                writer = writers[message.data[0]]
                writer.write(message.data[1:])
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
    finally:
        for task in readers:
            task.cancel()
        for writer in writers.values():
            writer.close()


def refusal(port: int, pod_ip: str, error: BaseException) -> str:
    """The text that kubectl shows when a port does not answer."""
    return f"failed to connect to {pod_ip}:{port} inside the pod: {error or type(error).__name__}"


async def _forward(data: SpdyStream, error: SpdyStream, pod_ip: str) -> None:
    try:
        port = int(data.headers.get("port", ""))
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(pod_ip, port)
    except (ValueError, OSError, TimeoutError) as problem:
        with contextlib.suppress(ConnectionError):
            await error.write(refusal(int(data.headers.get("port", "0") or 0), pod_ip, problem).encode())
            await error.close()
            await data.close()
        return
    inward = asyncio.ensure_future(_to_pod(data, writer))
    outward = asyncio.ensure_future(_to_client(reader, data))
    try:
        await outward
    finally:
        inward.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await error.close()


async def _to_pod(data: SpdyStream, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        while chunk := await data.read():
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


async def _to_client(reader: asyncio.StreamReader, data: SpdyStream) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            await data.write(chunk)
    with contextlib.suppress(ConnectionError):
        await data.close()


async def _send_channel(socket: web.WebSocketResponse, channel: int, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            await socket.send_bytes(bytes([channel]) + chunk)
