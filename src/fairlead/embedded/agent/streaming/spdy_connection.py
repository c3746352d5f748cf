"""The serving side of a SPDY/3.1 connection over any byte stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from fairlead.embedded.agent.streaming import spdy

_QUEUED_CHUNKS = 64
_LINGER_S = 5.0


class SpdyStream:
    """One stream that the client opened. `read` returns b"" at its end."""

    def __init__(self, connection: SpdyConnection, number: int, headers: dict[str, str]) -> None:
        self.number = number
        self.headers = headers
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_CHUNKS)
        self._connection = connection
        self._read_ended = False
        self._write_ended = False

    async def read(self) -> bytes:
        if self._read_ended:
            return b""
        get = asyncio.ensure_future(self.incoming.get())
        gone = asyncio.ensure_future(self._connection.closed.wait())
        try:
            await asyncio.wait({get, gone}, return_when=asyncio.FIRST_COMPLETED)
            data = get.result() if get.done() else b""
        finally:
            get.cancel()
            gone.cancel()
        self._read_ended = not data
        return data

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError once the stream or the connection is closed."""
        if self._write_ended:
            raise ConnectionResetError("the stream is closed")
        for start in range(0, len(data), spdy.MAX_DATA_BYTES):
            await self._connection.send(spdy.Codec.data(self.number, data[start : start + spdy.MAX_DATA_BYTES]))

    async def close(self) -> None:
        """End this side of the stream."""
        if not self._write_ended:
            self._write_ended = True
            await self._connection.send(spdy.Codec.data(self.number, last=True))

    async def reset(self) -> None:
        self._write_ended = self._read_ended = True
        await self._connection.send(spdy.Codec.rst_stream(self.number))


class SpdyConnection:
    """`read` returns b"" at the end of the byte stream; `write` raises ConnectionError when it is broken."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
        self._read = read
        self._write = write
        self._codec = spdy.Codec()
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def accept(self) -> SpdyStream:
        """The next stream that the client opens. Raises ConnectionResetError when the connection has ended."""
        stream = await self._opened.get()
        if stream is None:
            self._opened.put_nowait(None)
            raise ConnectionResetError("the client closed the connection")
        return stream

    async def send(self, data: bytes) -> None:
        if self.closed.is_set():
            raise ConnectionResetError("the client closed the connection")
        await self._write(data)

    async def serve(self) -> None:
        """Receive frames until the connection ends. To be run beside whatever uses the streams."""
        try:
            while data := await self._read():
                for frame in self._codec.feed(data):
                    await self._handle(frame)
        except (ConnectionError, spdy.ProtocolError):
            pass
        finally:
            self.closed.set()
            self._opened.put_nowait(None)

    async def linger(self) -> None:
        """Give the client time to take what was sent and to close first."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closed.wait(), _LINGER_S)

    async def _handle(self, frame: spdy.Frame) -> None:
        if frame.kind == spdy.SYN_STREAM:
            stream = SpdyStream(self, frame.stream, frame.headers or {})
            self._streams[frame.stream] = stream
            await self.send(self._codec.syn_reply(frame.stream))
            self._opened.put_nowait(stream)
            if frame.is_last:
                await stream.incoming.put(b"")
        elif frame.kind == 0 and frame.stream in self._streams:
            incoming = self._streams[frame.stream].incoming
            if frame.data:
                await incoming.put(frame.data)
            if frame.is_last:
                await incoming.put(b"")
        elif frame.kind == spdy.RST_STREAM:
            reset = self._streams.pop(frame.stream, None)
            if reset is not None:
                with contextlib.suppress(asyncio.QueueFull):
                    reset.incoming.put_nowait(b"")
        elif frame.kind == spdy.PING:
            await self.send(spdy.Codec.ping(frame.stream))
        elif frame.kind == spdy.GOAWAY:
            raise ConnectionResetError("the client is going away")
