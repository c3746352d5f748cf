"""A connection on a transport that keeps what is written, services that note what they see, and frames to send them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder

from fairlead.gateway.transport import FastServer, Limits, Metadata, Stream
from fairlead.gateway.transport import frames as h2
from fairlead.gateway.transport.connection import Connection

ECHO = "/test.Test/Echo"
ONCE = "/test.Test/Once"
LISTEN = "/test.Test/Listen"
FLOOD = "/test.Test/Flood"
BROKEN = "/test.Test/Broken"


@dataclass
class Noted:
    """One call as its service saw it."""

    stream: Stream
    metadata: Metadata
    messages: list[bytes] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def message(self, data: bytes) -> None:
        self.messages.append(data)

    def half_closed(self) -> None:
        self.ends.append("half_closed")

    def closed(self) -> None:
        self.ends.append("closed")


class Echo(Noted):
    """Gives every message back, and ends when the client does."""

    def message(self, data: bytes) -> None:
        super().message(data)
        self.stream.send([data])

    def half_closed(self) -> None:
        super().half_closed()
        self.stream.send([], end=True)


class Once(Noted):
    """Answers the first message and is over, as an endpoint picker is."""

    def message(self, data: bytes) -> None:
        super().message(data)
        self.stream.send([data], end=True)


class Flood(Noted):
    """Answers a message that is a number with as many bytes, in messages of 50,000, and is over."""

    def message(self, data: bytes) -> None:
        super().message(data)
        size = int(data)
        self.stream.send(
            [bytes((at // 50_000 % 251,)) * min(50_000, size - at) for at in range(0, size, 50_000)], end=True
        )


class Broken(Noted):
    """Fails on every message."""

    def message(self, data: bytes) -> None:
        super().message(data)
        raise RuntimeError("caused by the test")


class Service:
    """The services, and the calls that they have had in order."""

    def __init__(self) -> None:
        self.calls: list[Noted] = []
        self.services = {
            path: self._maker(kind)
            for path, kind in ((ECHO, Echo), (ONCE, Once), (LISTEN, Noted), (FLOOD, Flood), (BROKEN, Broken))
        }

    def _maker(self, kind: type[Noted]) -> Any:
        def make(stream: Stream, metadata: Metadata) -> Noted:
            call = kind(stream, metadata)
            self.calls.append(call)
            return call

        return make


class MemoryTransport(asyncio.Transport):
    """Takes what is written; while `blocked` it counts as unsent, as with a peer that does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.blocked = False
        self.unsent = 0
        self.reading = True
        self.closing = False
        self.aborted = False
        self._high = 65_536
        self._protocol: Any = None
        self._paused = False

    def connect(self, protocol: Any) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "written after the end"
        self.written += data
        if self.blocked:
            self.unsent += len(data)
            if self.unsent > self._high and not self._paused:
                self._paused = True
                self._protocol.pause_writing()

    def unblock(self) -> None:
        self.blocked = False
        self.unsent = 0
        if self._paused:
            self._paused = False
            self._protocol.resume_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or self._high

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM and GOAWAY."""
        return int(struct.unpack(">I", self.payload[:4] if self.kind == h2.RST_STREAM else self.payload[4:8])[0])


def parse(data: bytes) -> list[Frame]:
    """Whole frames; fails when bytes are left over."""
    found = []
    at = 0
    while at < len(data):
        high, low, kind, flags, stream_id = h2.HEADER.unpack_from(data, at)
        end = at + 9 + (high << 16 | low)
        assert end <= len(data), "an incomplete frame was written"
        found.append(Frame(kind, flags, stream_id, data[at + 9 : end]))
        at = end
    return found


class Wire:
    """A client that writes bytes into a connection. Needs a running loop."""

    def __init__(self, limits: Limits | None = None, *, settled: bool = True, beside: Wire | None = None) -> None:
        self.service = beside.service if beside else Service()
        self.server = beside.server if beside else FastServer(self.service.services, limits=limits)
        self.transport = MemoryTransport()
        self.connection = Connection(self.server)
        self.transport.connect(self.connection)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.greeting = self.take()
        if settled:
            self.feed(h2.PREFACE + h2.settings({}))
            self.take()

    def feed(self, data: bytes) -> list[Frame]:
        """Give bytes to the server; the frames that it wrote by now."""
        if not self.transport.closing:
            self.connection.data_received(data)
        return self.take()

    def take(self) -> list[Frame]:
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return parse(data)

    def request(
        self,
        stream_id: int,
        path: str = ECHO,
        *extra: tuple[str, str],
        flags: int = h2.END_HEADERS,
        without: Sequence[str] = (),
    ) -> bytes:
        """A HEADERS frame of a gRPC call."""
        return h2.frame(h2.HEADERS, flags, stream_id, self.block(path, *extra, without=without))

    def block(self, path: str = ECHO, *extra: tuple[str, str], without: Sequence[str] = ()) -> bytes:
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "picker"),
            ("te", "trailers"), ("content-type", "application/grpc"), *extra,
        ]  # fmt: skip
        return bytes(self.encoder.encode([item for item in fields if item[0] not in without]))

    def fields(self, frame: Frame) -> dict[str, str]:
        assert frame.kind == h2.HEADERS
        return {str(name): str(value) for name, value in self.decoder.decode(frame.payload)}


def message(data: bytes) -> bytes:
    """gRPC's framing of an uncompressed message."""
    return b"\0" + struct.pack(">I", len(data)) + data


def data(stream_id: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    return h2.frame(h2.DATA, h2.END_STREAM if end else 0, stream_id, payload)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what comes in its own time; the test's own timeout ends it."""
    while not condition():  # noqa: ASYNC110 - a condition of any kind
        await asyncio.sleep(0.005)
