"""The streams of one exec or attach session, whatever carries them.

Numbers are those of the WebSocket channel protocols (`v5.channel.k8s.io` and before): 0 stdin, 1 stdout, 2 stderr,
3 error (a `meta/v1` Status at the end), 4 resize; in v5 a message on channel 255 closes the channel that it names.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from fairlead.embedded.agent.streaming.spdy_connection import SpdyConnection, SpdyStream

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
WEBSOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io")
SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io")
_STREAM_TIMEOUT_S = 30.0
_INPUT_LIMIT = 64

SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}


def failure(message: str, reason: str = "InternalError", causes: list[dict[str, str]] | None = None) -> dict[str, Any]:
    details = {"details": {"causes": causes}} if causes else {}
    code = {} if causes else {"code": 500}
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason, **details, **code}


def exit_status(code: int) -> dict[str, Any]:
    """The Status of a command that ended: how kubectl learns the exit code."""
    if code == 0:
        return SUCCESS
    message = f"command terminated with non-zero exit code: exit status {code}"
    return failure(message, "NonZeroExitCode", [{"reason": "ExitCode", "message": str(code)}])


class Channels(Protocol):
    """One session as its server sees it. Input ends with b"" and the session's loss counts as the end of input."""

    async def read_stdin(self) -> bytes: ...
    async def next_resize(self) -> dict[str, int] | None: ...
    async def write(self, channel: int, data: bytes) -> None: ...
    async def finish(self, status: dict[str, Any]) -> None: ...
    async def closed(self) -> None: ...


class _Inputs:
    def __init__(self) -> None:
        self.stdin: asyncio.Queue[bytes] = asyncio.Queue(_INPUT_LIMIT)
        self.resizes: asyncio.Queue[dict[str, int] | None] = asyncio.Queue(_INPUT_LIMIT)
        self.gone = asyncio.Event()
        self._ended = False

    async def read_stdin(self) -> bytes:
        if self._ended:
            return b""
        data = await self.stdin.get()
        self._ended = not data
        return data

    async def next_resize(self) -> dict[str, int] | None:
        return await self.resizes.get()

    async def closed(self) -> None:
        await self.gone.wait()

    async def end(self) -> None:
        self.gone.set()
        if not self._ended:
            with contextlib.suppress(asyncio.QueueFull):
                self.stdin.put_nowait(b"")
        with contextlib.suppress(asyncio.QueueFull):
            self.resizes.put_nowait(None)

    def resize(self, data: bytes) -> None:
        with contextlib.suppress(ValueError, asyncio.QueueFull):
            size = json.loads(data)
            self.resizes.put_nowait({"Width": int(size["Width"]), "Height": int(size["Height"])})


class WebSocketChannels(_Inputs):
    def __init__(self, socket: web.WebSocketResponse) -> None:
        super().__init__()
        self._socket = socket
        self._base64 = "base64" in (socket.ws_protocol or "")

    async def receive(self) -> None:
        """Take messages until the client closes. To be run beside the session."""
        async for message in self._socket:
            if message.type == WSMsgType.BINARY:
                await self._take(message.data[:1], message.data[1:])
            elif message.type == WSMsgType.TEXT and self._base64 and message.data:
                await self._take(bytes([int(message.data[0])]), base64.b64decode(message.data[1:]))
        await self.end()

    async def write(self, channel: int, data: bytes) -> None:
        if self._base64:
            await self._socket.send_str(f"{channel}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def finish(self, status: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.write(ERROR, json.dumps(status, separators=(",", ":")).encode())
            await self._socket.close()

    async def _take(self, channel: bytes, data: bytes) -> None:
        if channel == b"\x00" and data:
            await self.stdin.put(data)
        elif channel == b"\x04":
            self.resize(data)
        elif channel == b"\xff" and data == b"\x00":
            await self.stdin.put(b"")


class SpdyChannels(_Inputs):
    def __init__(self, connection: SpdyConnection, streams: dict[int, SpdyStream], *, plain_errors: bool) -> None:
        super().__init__()
        self._connection = connection
        self._streams = streams
        self._plain_errors = plain_errors

    @classmethod
    async def accept(cls, connection: SpdyConnection, wanted: set[int], *, plain_errors: bool) -> SpdyChannels:
        """Wait until the client has opened all streams. Raises TimeoutError, ConnectionError."""
        numbers = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}
        streams: dict[int, SpdyStream] = {}
        async with asyncio.timeout(_STREAM_TIMEOUT_S):
            while not wanted <= streams.keys():
                stream = await connection.accept()
                number = numbers.get(stream.headers.get("streamtype", ""))
                if number is not None:
                    streams[number] = stream
        return cls(connection, streams, plain_errors=plain_errors)

    async def receive(self) -> None:
        """Take input until the connection ends. To be run beside the session."""
        async with asyncio.TaskGroup() as group:
            if STDIN in self._streams:
                group.create_task(self._take_stdin())
            if RESIZE in self._streams:
                group.create_task(self._take_resizes())
            await self._connection.closed.wait()
        await self.end()

    async def write(self, channel: int, data: bytes) -> None:
        stream = self._streams.get(channel)
        if stream is not None and data:
            await stream.write(data)

    async def finish(self, status: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            error = self._streams[ERROR]
            if not self._plain_errors:
                await error.write(json.dumps(status, separators=(",", ":")).encode())
            elif status["status"] != "Success":
                await error.write(str(status["message"]).encode())
            for stream in self._streams.values():
                await stream.close()
        await self._connection.linger()

    async def _take_stdin(self) -> None:
        while data := await self._streams[STDIN].read():
            await self.stdin.put(data)
        await self.stdin.put(b"")

    async def _take_resizes(self) -> None:
        buffer = b""
        while data := await self._streams[RESIZE].read():
            *sizes, buffer = (buffer + data).replace(b"}", b"}\n").split(b"\n")
            for size in sizes:
                if size.strip():
                    self.resize(size)
