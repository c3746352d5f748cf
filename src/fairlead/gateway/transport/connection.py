"""One HTTP/2 connection of a gRPC client, as an asyncio protocol (RFC 9113).

Frames are parsed where they lie in the bytes that were read; each goes to the handler of its type. What must come next
(the preface, the first SETTINGS, the rest of a header block) is a table of handlers, so the usual case is checked by
nothing. All that one read causes is written in one go.

A fault of a stream resets that stream; a fault of the connection ends it with GOAWAY. Frames that cost the server work
and bring nothing are counted against a rate (`Limits`), and a peer that exceeds it is told ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from fairlead.gateway.transport import frames as h2
from fairlead.gateway.transport.control_frames import ControlFrames
from fairlead.gateway.transport.flow_control import ReceiveWindow
from fairlead.gateway.transport.frames import ConnectionFault
from fairlead.gateway.transport.grpc_stream import GrpcStream
from fairlead.gateway.transport.headers import HeaderReader, RequestHead, http_error_block
from fairlead.gateway.transport.lifecycle import Host
from fairlead.gateway.transport.status import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED

log = logging.getLogger(__name__)

_MAX_BLOCK_FACTOR = 2
"""Bytes of one compressed header block, as a multiple of the limit of the list that it stands for."""
_MAX_CONTINUATIONS = 64
_OVERSIZE_COST = 100.0
"""Decoding a header list above the limit counts as so many frames that bring nothing."""


class Connection(ControlFrames):
    """Serves one client until either side ends the connection."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._services = host.services
        self._partial = b""
        """The beginning of a frame, or of the preface."""
        self._preface_left = len(h2.PREFACE)
        self._handlers = _FIRST
        self._headers = HeaderReader(self.limits.max_header_list_bytes)
        self._receive = ReceiveWindow(self.limits.connection_window_bytes)
        self._block: list[bytes] = []
        """Parts of a header block that CONTINUATION frames complete."""
        self._block_bytes = 0
        self._block_flags = 0
        self._block_stream = 0

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
            self._unproductive(_OVERSIZE_COST)
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

    def _on_closed_stream(self, stream_id: int) -> None:
        """DATA on a stream that takes none."""
        if self._never_opened(stream_id):
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"DATA on stream {stream_id}, which is not open")
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._reset(stream, h2.STREAM_CLOSED)
        elif stream_id not in self._ended_early and stream_id <= self._accepts_to:
            self._unproductive()
            self._send_reset(stream_id, h2.STREAM_CLOSED)

    def _on_first_settings(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if flags & h2.ACK:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "the first frame acknowledges SETTINGS")
        self._handlers = _OPEN
        self._shook_hands()
        self._on_settings(data, start, stop, flags, stream_id)

    def _on_push_promise(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        raise ConnectionFault(h2.PROTOCOL_ERROR, "a client cannot push")

    def _out_of_order(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if self._handlers is _FIRST:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._handlers is _IN_BLOCK:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a frame within a header block")
        raise ConnectionFault(h2.PROTOCOL_ERROR, "CONTINUATION without a header block")


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
