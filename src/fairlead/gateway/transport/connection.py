"""One HTTP/2 connection of a gRPC client, as an asyncio protocol (RFC 9113).

Frames are parsed where they lie in the bytes that were read; each goes to the handler of its type. What must come next
(the preface, the first SETTINGS, the rest of a header block) is a table of handlers, so the usual case is checked by
nothing. All that one read causes is written in one go.

A fault of a stream resets that stream; a fault of the connection ends it with GOAWAY. Frames that cost the server work
and bring nothing are counted against a rate (`Limits`), and a peer that exceeds it is told ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from fairlead.clock import Clock
from fairlead.gateway.transport import frames as h2
from fairlead.gateway.transport.call import Services
from fairlead.gateway.transport.flow_control import ReceiveWindow
from fairlead.gateway.transport.frames import ConnectionFault
from fairlead.gateway.transport.grpc_stream import GrpcStream
from fairlead.gateway.transport.headers import HeaderReader, RequestHead, http_error_block
from fairlead.gateway.transport.limits import HeldBytes, Limits, RateLimit
from fairlead.gateway.transport.outbox import Outbox
from fairlead.gateway.transport.status import INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE, UNIMPLEMENTED

log = logging.getLogger(__name__)

_MAX_BLOCK_FACTOR = 2
"""Bytes of one compressed header block, as a multiple of the limit of the list that it stands for."""
_MAX_CONTINUATIONS = 64
_RECENT_STREAMS = 1024
_LINGER_S = 5.0
_DRAIN_PING = b"drain\0\0\0"
_ALIVE_PING = b"alive?\0\0"
_WINDOW_UPDATES_PER_DATA_FRAME = 10
_WINDOW_UPDATES_FREE = 1000


class Host(Protocol):
    """The server, as its connections see it."""

    services: Services
    limits: Limits
    held: HeldBytes
    clock: Clock

    def joined(self, connection: Connection) -> bool:
        """A connection is made. False when it is one too many or the server stops."""
        ...

    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Serves one client until either side ends the connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._services = host.services
        self.limits = host.limits
        self.streams: dict[int, GrpcStream] = {}
        """Stream id -> call, of those that are open in a direction."""
        self.outbox: Outbox
        self._transport: asyncio.Transport
        self._partial = b""
        """The beginning of a frame, or of the preface."""
        self._headers = HeaderReader(self.limits.max_header_list_bytes)
        self._receive = ReceiveWindow(self.limits.connection_window_bytes)
        self._last_id = 0
        """The highest stream id that the client has used."""
        self._accepts_to = h2.MAX_STREAM_ID
        """The highest stream id that is still served: what GOAWAY has said."""
        self._ended_early: deque[int] = deque(maxlen=_RECENT_STREAMS)
        """Streams that this side has reset, for which frames may be under way."""
        self._preface_left = len(h2.PREFACE)
        self._handlers = _FIRST
        self._block: list[bytes] = []
        """Parts of a header block that CONTINUATION frames complete."""
        self._block_bytes = 0
        self._block_flags = 0
        self._block_stream = 0
        self._window_updates = 0
        self._streams_opened = 0
        self._heard = True
        self._asked = False
        self._unwritten = 0
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._closed = False

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limits = self.limits
        self._transport = cast(asyncio.Transport, transport)
        self.outbox = Outbox(self._transport, self._host.held, limits.write_buffer_bytes)
        now_s = self._host.clock.monotonic_s()
        self._control_rate = RateLimit(limits.control_frames_burst, limits.control_frames_per_s, now_s)
        self._reset_rate = RateLimit(limits.resets_burst, limits.resets_per_s, now_s)
        if not self._host.joined(self):
            self._closed = True
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=limits.write_buffer_bytes)
        self._transport.write(
            h2.settings(
                {
                    h2.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
                    h2.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                    h2.MAX_FRAME_SIZE: limits.max_frame_bytes,
                    h2.MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
                }
            )
        )
        extra = limits.connection_window_bytes - h2.DEFAULT_WINDOW_BYTES
        if extra:
            self._transport.write(h2.window_update(0, extra))
        self._timer = asyncio.get_running_loop().call_later(limits.handshake_s, self._handshake_late)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._heard = True
        outbox = self.outbox
        outbox.corked = True
        try:
            if self._partial:
                data = self._partial + data
            self._partial = self._frames(data)
        except ConnectionFault as fault:
            self._end(fault.code, fault.reason)
        except Exception:
            log.exception("a connection failed on a frame; it is closed")
            self._end(h2.INTERNAL_ERROR, "internal error")
        outbox.corked = False
        outbox.flush()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.outbox.paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.outbox.paused = False
        if not self._closed:
            self.outbox.pump()
        if not self.outbox.paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        self._partial = b""
        if self._timer is not None:
            self._timer.cancel()
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.close()
        self._host.left(self)

    # From the server.

    def drain(self) -> None:
        """Serve what has begun, and nothing that begins after the client has learned of it: GOAWAY twice, the second
        one when a PING in between has come back (RFC 9113 section 6.8)."""
        if self._closed or self._draining:
            return
        self._draining = True
        self.outbox.add(h2.goaway(h2.MAX_STREAM_ID, h2.NO_ERROR, "server stops") + h2.ping(_DRAIN_PING))

    def refuse_new(self) -> None:
        """The second GOAWAY. The connection ends with its last stream."""
        if self._closed or self._accepts_to != h2.MAX_STREAM_ID:
            return
        self._draining = True
        self._accepts_to = self._last_id
        self.outbox.add(h2.goaway(self._last_id, h2.NO_ERROR, "server stops"))
        self._end_if_idle()

    def end_calls(self) -> None:
        """End every call with UNAVAILABLE, then the connection."""
        self.refuse_new()
        for stream in list(self.streams.values()):
            stream.abandon(UNAVAILABLE, "the server stops")
        if not self._closed:
            self._close()

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""
        self._closed = True
        self._transport.abort()

    # From streams.

    def forget(self, stream: GrpcStream) -> None:
        """The stream is over in both directions."""
        self.streams.pop(stream.id, None)
        if not stream.half_closed:
            self._ended_early.append(stream.id)
        if self._draining:
            self._end_if_idle()

    # Frames.

    def _frames(self, data: bytes) -> bytes:
        """Handle every whole frame; the rest."""
        position, end = 0, len(data)
        if self._preface_left:
            position = self._preface(data)
            if self._preface_left:
                return data
        unpack = h2.HEADER.unpack_from
        max_frame = self.limits.max_frame_bytes
        while end - position >= 9:
            high, low, kind, flags, stream_id = unpack(data, position)
            size = high << 16 | low
            if size > max_frame:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a frame of {size} bytes is larger than {max_frame}")
            start = position + 9
            position = start + size
            if position > end:
                return data[start - 9 :]
            self._handlers[kind](self, data, start, position, flags, stream_id & h2.STREAM_ID_MASK)
            if self._closed:
                return b""
        return data[position:] if position < end else b""

    def _preface(self, data: bytes) -> int:
        expected = h2.PREFACE
        got = data[: len(expected)]
        if not expected.startswith(got):
            raise ConnectionFault(h2.PROTOCOL_ERROR, "this is not HTTP/2 with prior knowledge")
        self._preface_left = len(expected) - len(got)
        return len(got)

    def _on_data(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        size = stop - start
        if size:
            receive = self._receive
            if not receive.take(size):
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
            if receive.owed > receive.half:
                self.outbox.pieces.append(h2.window_update(0, receive.credit()))
        elif not flags & h2.END_STREAM:
            self._unproductive()
        stream = self.streams.get(stream_id)
        if stream is None or stream.half_closed:
            self._on_closed_stream(stream_id)
            return
        if flags & h2.PADDED:
            start, stop = h2.without_padding(data, start, stop, flags & h2.PADDED)
        if not stream.receive.take(size):
            self._reset(stream, h2.FLOW_CONTROL_ERROR)
            return
        if start < stop:
            stream.data(data, start, stop)
        if flags & h2.END_STREAM:
            if not stream.end_of_input():
                self._reset(stream, h2.PROTOCOL_ERROR)
        elif stream.receive.owed > stream.receive.half:
            stream.grant()

    def _on_headers(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if flags & (h2.PADDED | h2.PRIORITY_FLAG):
            start, stop = h2.without_padding(data, start, stop, flags)
        if not stream_id & 1:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"a client cannot open stream {stream_id}")
        if flags & h2.END_HEADERS:
            self._header_block(data[start:stop], flags, stream_id)
            return
        self._block = [data[start:stop]]
        self._block_bytes = stop - start
        self._block_flags = flags
        self._block_stream = stream_id
        self._handlers = _IN_BLOCK

    def _on_continuation(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stream_id != self._block_stream:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "CONTINUATION of another stream")
        self._block.append(data[start:stop])
        self._block_bytes += stop - start
        if (
            self._block_bytes > self.limits.max_header_list_bytes * _MAX_BLOCK_FACTOR
            or len(self._block) > _MAX_CONTINUATIONS
        ):
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & h2.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._handlers = _OPEN
            self._header_block(block, self._block_flags, stream_id)

    def _header_block(self, block: bytes, flags: int, stream_id: int) -> None:
        head = self._headers.remembered.get(block) or self._headers.read(block)
        if stream_id > self._last_id:
            self._last_id = stream_id
            if stream_id <= self._accepts_to:
                self._open(head, flags, stream_id)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id not in self._ended_early and stream_id <= self._accepts_to:
                raise ConnectionFault(h2.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which is closed")
            self._unproductive()
        elif stream.half_closed:
            self._reset(stream, h2.STREAM_CLOSED)
        elif not flags & h2.END_STREAM or head.malformed or not head.is_trailers or not stream.end_of_input():
            self._reset(stream, h2.PROTOCOL_ERROR)

    def _open(self, head: RequestHead, flags: int, stream_id: int) -> None:
        """A new call, or the reason why there is none."""
        self._streams_opened += 1
        if head.malformed or head.is_trailers:
            self._unproductive()
            self._send_reset(stream_id, h2.PROTOCOL_ERROR)
            return
        if len(self.streams) >= self.limits.max_concurrent_streams:
            self._send_reset(stream_id, h2.REFUSED_STREAM)
            return
        stream = GrpcStream(self, stream_id)
        stream.half_closed = bool(flags & h2.END_STREAM)
        if head.http_status:
            stream.refuse(http_error_block(head.http_status))
            return
        make = self._services.get(head.path)
        if head.is_too_large:
            stream.fail(RESOURCE_EXHAUSTED, f"headers above the limit of {self.limits.max_header_list_bytes} bytes")
            return
        if make is None:
            stream.fail(UNIMPLEMENTED, f"no method {head.path}")
            return
        self.streams[stream_id] = stream
        stream.encoding = head.encoding
        try:
            call = make(stream, head.metadata)
        except Exception:
            log.exception("a service failed to begin a call")
            stream.fail(INTERNAL, "the service failed")
            return
        if stream.ended:
            return
        stream.started(call, head.timeout_s, head.content_length)
        if flags & h2.END_STREAM and not stream.end_of_input():
            self._reset(stream, h2.PROTOCOL_ERROR)

    def _on_priority(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if not stream_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._unproductive()
        if stop - start != 5:
            stream = self.streams.get(stream_id)
            if stream is None:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")
            self._reset(stream, h2.FRAME_SIZE_ERROR)

    def _on_rst_stream(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stop - start != 4:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            if not self._reset_rate.admits(self._host.clock.monotonic_s()):
                self.streams[stream_id] = stream
                raise ConnectionFault(h2.ENHANCE_YOUR_CALM, "too many streams opened and reset")
            stream.close()
            if self._draining:
                self._end_if_idle()
        elif not stream_id or stream_id > self._last_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"RST_STREAM of stream {stream_id}, which is not open")

    def _on_settings(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stream_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
        if (stop - start) % 6 or (flags & h2.ACK and start != stop):
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if flags & h2.ACK:
            self._unproductive()
            return
        self._unproductive(1 + (stop - start) / 60 + len(self.outbox.stalled) / 100)
        for name, value in h2.SETTING.iter_unpack(data[start:stop]):
            self._setting(name, value)
        self.outbox.pieces.append(h2.SETTINGS_ACK)
        self.outbox.pump()

    def _on_first_settings(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if flags & h2.ACK:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "the first frame acknowledges SETTINGS")
        self._handlers = _OPEN
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.limits.keepalive_s, self._keepalive)
        self._on_settings(data, start, stop, flags, stream_id)

    def _setting(self, name: int, value: int) -> None:
        outbox = self.outbox
        if name == h2.ENABLE_PUSH and value > 1:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if name == h2.MAX_FRAME_SIZE:
            if not h2.MIN_MAX_FRAME_BYTES <= value <= h2.MAX_MAX_FRAME_BYTES:
                raise ConnectionFault(h2.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
            outbox.max_frame = value
        elif name == h2.INITIAL_WINDOW_SIZE:
            if value > h2.MAX_WINDOW_BYTES or any(
                value + stream.send_credit > h2.MAX_WINDOW_BYTES for stream in self.streams.values()
            ):
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value} is too large")
            outbox.stream_window = value
            for stream in list(outbox.stalled):
                outbox.window_opened(stream)

    def _on_push_promise(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        raise ConnectionFault(h2.PROTOCOL_ERROR, "a client cannot push")

    def _on_ping(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stream_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if stop - start != 8:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        payload = data[start:stop]
        self._unproductive()
        if not flags & h2.ACK:
            self.outbox.pieces.append(h2.ping(payload, ack=True))
        elif payload == _DRAIN_PING and self._draining:
            self.refuse_new()

    def _on_goaway(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stream_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
        if stop - start < 8:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
        # The client goes on with its streams and closes by itself; there are none of ours that it could refuse.
        self._unproductive()

    def _on_window_update(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stop - start != 4:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        self._count_window_update()
        size = h2.UINT32.unpack_from(data, start)[0] & h2.MAX_WINDOW_BYTES
        outbox = self.outbox
        if not stream_id:
            if not size:
                raise ConnectionFault(h2.PROTOCOL_ERROR, "WINDOW_UPDATE of 0 bytes")
            outbox.window += size
            if outbox.window > h2.MAX_WINDOW_BYTES:
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "the connection's window is larger than 2^31-1")
        else:
            stream = self.streams.get(stream_id)
            if stream is None:
                if stream_id > self._last_id:
                    raise ConnectionFault(h2.PROTOCOL_ERROR, f"WINDOW_UPDATE of stream {stream_id}, which is not open")
                return
            stream.send_credit += size
            if not size or outbox.stream_window + stream.send_credit > h2.MAX_WINDOW_BYTES:
                self._reset(stream, h2.FLOW_CONTROL_ERROR if size else h2.PROTOCOL_ERROR)
                return
            outbox.window_opened(stream)
        outbox.pump()

    def _on_unknown(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        self._unproductive()

    def _out_of_order(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if self._handlers is _FIRST:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._handlers is _IN_BLOCK:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a frame within a header block")
        raise ConnectionFault(h2.PROTOCOL_ERROR, "CONTINUATION without a header block")

    # What comes of them.

    def _on_closed_stream(self, stream_id: int) -> None:
        """DATA on a stream that takes none."""
        if not stream_id or stream_id > self._last_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"DATA on stream {stream_id}, which is not open")
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._reset(stream, h2.STREAM_CLOSED)
        elif stream_id not in self._ended_early and stream_id <= self._accepts_to:
            self._unproductive()
            self._send_reset(stream_id, h2.STREAM_CLOSED)

    def _reset(self, stream: GrpcStream, code: int) -> None:
        """A fault of one stream: it ends on both sides, the others go on."""
        self.streams.pop(stream.id, None)
        stream.close()
        self._unproductive()
        self._send_reset(stream.id, code)
        if self._draining:
            self._end_if_idle()

    def _send_reset(self, stream_id: int, code: int) -> None:
        self._ended_early.append(stream_id)
        self.outbox.pieces.append(h2.rst_stream(stream_id, code))

    def _unproductive(self, cost: float = 1.0) -> None:
        if not self._control_rate.admits(self._host.clock.monotonic_s(), cost):
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    def _count_window_update(self) -> None:
        self._window_updates += 1
        earned = self.outbox.data_frames * _WINDOW_UPDATES_PER_DATA_FRAME + self._streams_opened * 2
        if self._window_updates > earned + _WINDOW_UPDATES_FREE:
            self._unproductive()

    def _end(self, code: int, reason: str) -> None:
        """GOAWAY and the end of the connection."""
        if self._closed:
            return
        if code != h2.NO_ERROR:
            log.info("an HTTP/2 connection ends with error %#x: %s", code, reason)
        self.outbox.pieces.append(h2.goaway(self._last_id, code, reason))
        self._close()

    def _close(self) -> None:
        """Close when everything is written, or after a while: the peer may not read."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self.outbox.flush()
        self._transport.close()
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def _end_if_idle(self) -> None:
        if not self.streams and (self._accepts_to != h2.MAX_STREAM_ID):
            self._end(h2.NO_ERROR, "drained")

    def _handshake_late(self) -> None:
        self.abort()

    def _keepalive(self) -> None:
        """Ask a silent peer whether it is there, and close when it does not answer. A peer that reads what waits for it
        is there, too."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        unwritten = self._transport.get_write_buffer_size()
        if self._heard or unwritten < self._unwritten:
            self._heard = self._asked = False
            self._unwritten = unwritten
            self._timer = loop.call_later(self.limits.keepalive_s, self._keepalive)
        elif self._asked:
            log.info("an HTTP/2 peer does not answer; its connection is closed")
            self.abort()
        else:
            self._asked = True
            self._unwritten = unwritten
            self.outbox.add(h2.ping(_ALIVE_PING))
            self._timer = loop.call_later(self.limits.keepalive_timeout_s, self._keepalive)


_Handler = Callable[[Connection, bytes, int, int, int, int], None]


def _table(handlers: dict[int, _Handler], otherwise: _Handler) -> tuple[_Handler, ...]:
    return tuple(handlers.get(kind, otherwise) for kind in range(256))


_OPEN = _table(
    {
        h2.DATA: Connection._on_data,
        h2.HEADERS: Connection._on_headers,
        h2.PRIORITY: Connection._on_priority,
        h2.RST_STREAM: Connection._on_rst_stream,
        h2.SETTINGS: Connection._on_settings,
        h2.PUSH_PROMISE: Connection._on_push_promise,
        h2.PING: Connection._on_ping,
        h2.GOAWAY: Connection._on_goaway,
        h2.WINDOW_UPDATE: Connection._on_window_update,
        h2.CONTINUATION: Connection._out_of_order,
    },
    Connection._on_unknown,
)
_FIRST = _table({h2.SETTINGS: Connection._on_first_settings}, Connection._out_of_order)
_IN_BLOCK = _table({h2.CONTINUATION: Connection._on_continuation}, Connection._out_of_order)
