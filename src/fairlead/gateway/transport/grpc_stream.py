"""One gRPC call on an HTTP/2 stream: messages out of DATA frames, answers and statuses into frames.

The service's call sees whole messages. An answer with `end` is one run of frames: headers, data, trailers and, where
the client has not finished sending, RST_STREAM with NO_ERROR, which asks it to stop (RFC 9113 section 8.1).
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Sequence
from typing import Protocol

from fairlead.gateway.transport.call import Call
from fairlead.gateway.transport.flow_control import ReceiveWindow, SendQueue
from fairlead.gateway.transport.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADER,
    HEADERS,
    NO_ERROR,
    frame,
    rst_stream,
    window_update,
)
from fairlead.gateway.transport.headers import OK_TRAILERS_BLOCK, RESPONSE_BLOCK, status_fields
from fairlead.gateway.transport.limits import Limits
from fairlead.gateway.transport.outbox import Outbox
from fairlead.gateway.transport.status import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
)

log = logging.getLogger(__name__)

_PREFIX = struct.Struct(">BI")
_PREFIX_BYTES = 5
_PART_OVERHEAD_BYTES = 64
"""What a held part costs beyond its bytes: a message may come in frames of one byte."""
_MAX_TIMEOUT_S = 30 * 86_400.0
"""Deadlines further away need no timer."""
_RESPONSE = (HEADER.pack(0, len(RESPONSE_BLOCK), HEADERS, END_HEADERS, 0)[:5], RESPONSE_BLOCK)
_OK_TRAILERS = (
    HEADER.pack(0, len(OK_TRAILERS_BLOCK), HEADERS, END_HEADERS | END_STREAM, 0)[:5],
    OK_TRAILERS_BLOCK,
)


class Owner(Protocol):
    """The connection, as its streams see it."""

    outbox: Outbox
    limits: Limits

    def forget(self, stream: GrpcStream) -> None:
        """The stream is over in both directions."""
        ...


class GrpcStream:
    """The server's side of one call; the `Stream` that its service gets."""

    __slots__ = (
        "_deadline",
        "_expected_bytes",
        "_head",
        "_held",
        "_held_bytes",
        "_missing",
        "_outbox",
        "_owner",
        "_trailers",
        "answered",
        "call",
        "encoding",
        "ended",
        "half_closed",
        "id",
        "queue",
        "receive",
        "send_credit",
    )

    def __init__(self, owner: Owner, stream_id: int) -> None:
        self._owner = owner
        self._outbox = owner.outbox
        self.id = stream_id
        self.call: Call | None = None
        self.receive = ReceiveWindow(owner.limits.stream_window_bytes)
        self.send_credit = 0
        """What the peer has granted on this stream beyond its initial window, less what was sent."""
        self.queue = SendQueue()
        self.encoding = "identity"
        self.answered = False
        self.half_closed = False
        """Whether the client has ended its side."""
        self.ended = False
        """Whether the call is over for its service."""
        self._trailers = b""
        self._head = b""
        """The first bytes of a message's prefix, where a frame ends within it."""
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._missing = 0
        """Bytes of the incomplete message that are still to come."""
        self._deadline: asyncio.TimerHandle | None = None
        self._expected_bytes: int | None = None

    # From the service.

    def send(self, messages: Sequence[bytes], *, end: bool = False) -> None:
        """Send messages in order; with `end` the call is then over with status OK. Never blocks."""
        if self.ended:
            return
        outbox = self._outbox
        if not self.answered:
            self._answer()
        if messages:
            size = 0
            for message in messages:
                size += _PREFIX_BYTES + len(message)
            if self.queue.size or size > outbox.max_frame or not self._send_now(messages, size):
                self._enqueue(messages, size)
        if end and not self.ended:
            self._end(_OK_TRAILERS[0] + self.id.to_bytes(4, "big") + _OK_TRAILERS[1])
        if not outbox.corked:
            outbox.flush()

    def fail(self, code: int, message: str) -> None:
        """End the call with a gRPC status other than OK."""
        if self.ended:
            return
        self._drop_unsent()
        block = status_fields(code, message)
        if not self.answered:
            self.answered = True
            block = RESPONSE_BLOCK + block
        self._end(frame(HEADERS, END_HEADERS | END_STREAM, self.id, block))
        if not self._outbox.corked:
            self._outbox.flush()

    # From the connection.

    def started(self, call: Call, timeout_s: float | None, expected_bytes: int | None) -> None:
        """The service has made its call."""
        self.call = call
        self._expected_bytes = expected_bytes
        if timeout_s is not None and timeout_s < _MAX_TIMEOUT_S and not self.ended:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(timeout_s, self._deadline_passed)

    def refuse(self, block: bytes) -> None:
        """Answer with an HTTP error: the request is not gRPC."""
        self.answered = True
        self._end(frame(HEADERS, END_HEADERS | END_STREAM, self.id, block))

    def data(self, data: bytes, start: int, stop: int) -> None:
        """Payload of a DATA frame: `data[start:stop]`."""
        if self._expected_bytes is not None:
            self._expected_bytes -= stop - start
        if self.ended or self.call is None:
            return
        try:
            self._messages(self.call, data, start, stop)
        except Exception:
            self._service_failed()

    def end_of_input(self) -> bool:
        """The client ended its side. False when it had announced another length (RFC 9113 section 8.1.1)."""
        self.half_closed = True
        if self.ended or self.call is None:
            return True
        if self._expected_bytes:
            return False
        if self._missing or self._head:
            self.abandon(INTERNAL, "the stream ended within a message")
            return True
        try:
            self.call.half_closed()
        except Exception:
            self._service_failed()
        return True

    def abandon(self, code: int, message: str) -> None:
        """End the call with a status for the client, and tell the service that it is over."""
        call = self.call
        if self.ended:
            return
        self.fail(code, message)
        _tell_closed(call)

    def close(self) -> None:
        """The client or the connection has ended the stream: nothing more is sent, and the service is told."""
        told = self.ended
        self.ended = True
        self._release()
        if not told:
            _tell_closed(self.call)
        self.call = None

    def drained(self) -> None:
        """Everything queued was sent."""
        if self._trailers:
            self._outbox.pieces.append(self._trailers)
            self._trailers = b""
            self._finish()
        else:
            self.grant()

    def grant(self) -> None:
        """Give the peer credit if it is due, unless it leaves too much of the answer unread."""
        receive = self.receive
        if (
            receive.owed > receive.half
            and not self.half_closed
            and not self.ended
            and self.queue.size <= self._owner.limits.max_unsent_bytes
        ):
            self._outbox.pieces.append(window_update(self.id, receive.credit()))

    def _messages(self, call: Call, data: bytes, start: int, stop: int) -> None:
        if self._missing:
            start = self._more(call, data, start, stop)
        elif self._head:
            data, start, stop = self._head + data[start:stop], 0, stop - start + len(self._head)
            self._head = b""
        while start < stop and not self.ended:
            if stop - start < _PREFIX_BYTES:
                self._head = data[start:stop]
                return
            compressed, size = _PREFIX.unpack_from(data, start)
            start += _PREFIX_BYTES
            if compressed or size > self._owner.limits.max_message_bytes:
                self._refuse(compressed, size)
                return
            after = start + size
            if after <= stop:
                call.message(data[start:after])
                start = after
            else:
                self._missing = size
                self._hold(data[start:stop])
                return

    def _more(self, call: Call, data: bytes, start: int, stop: int) -> int:
        """Go on with the incomplete message; where the next one begins."""
        after = start + self._missing
        if after > stop:
            self._hold(data[start:stop])
            return stop
        held, self._held = self._held, []
        held.append(data[start:after])
        self._outbox.held.give(self._held_bytes)
        self._held_bytes = 0
        self._missing = 0
        call.message(b"".join(held))
        return after

    def _hold(self, part: bytes) -> None:
        size = len(part) + _PART_OVERHEAD_BYTES
        if not self._outbox.held.take(size):
            self.abandon(RESOURCE_EXHAUSTED, "the server holds too many incomplete messages")
            return
        self._held.append(part)
        self._held_bytes += size
        self._missing -= len(part)

    def _refuse(self, compressed: int, size: int) -> None:
        limit = self._owner.limits.max_message_bytes
        if compressed and self.encoding != "identity":
            self.abandon(UNIMPLEMENTED, f"messages compressed with {self.encoding} are not understood")
        elif compressed:
            self.abandon(INTERNAL, "a message is marked as compressed and grpc-encoding names no compression")
        else:
            self.abandon(RESOURCE_EXHAUSTED, f"a message of {size} bytes is larger than the limit of {limit}")

    def _send_now(self, messages: Sequence[bytes], size: int) -> bool:
        """Send messages that fit one frame, if the windows admit them."""
        outbox = self._outbox
        if (
            outbox.paused
            or size > outbox.window
            or size > outbox.stream_window + self.send_credit
            or outbox.size > outbox.write_buffer_bytes
        ):
            return False
        pieces = outbox.pieces
        pieces.append(HEADER.pack(size >> 16, size & 0xFFFF, DATA, 0, self.id))
        for message in messages:
            pieces.append(_PREFIX.pack(0, len(message)))
            pieces.append(message)
        outbox.window -= size
        outbox.size += size
        outbox.data_frames += 1
        self.send_credit -= size
        return True

    def _enqueue(self, messages: Sequence[bytes], size: int) -> None:
        if not self._outbox.held.take(size):
            # Nothing can be said on a stream whose answers are not read; its service hears of it in the next turn.
            call, self.call = self.call, None
            self.ended = True
            self._drop_unsent()
            self._outbox.pieces.append(rst_stream(self.id, ENHANCE_YOUR_CALM))
            asyncio.get_running_loop().call_soon(_tell_closed, call)
            self._owner.forget(self)
            return
        for message in messages:
            self.queue.push(_PREFIX.pack(0, len(message)))
            self.queue.push(message)
        outbox = self._outbox
        if self not in outbox.stalled and self not in outbox.waiting:
            outbox.waiting[self] = None
            outbox.pump()

    def _answer(self) -> None:
        self.answered = True
        self._outbox.pieces.append(_RESPONSE[0] + self.id.to_bytes(4, "big") + _RESPONSE[1])

    def _end(self, trailers: bytes) -> None:
        self.ended = True
        if self.queue.size:
            self._trailers = trailers
            self._release_input()
            return
        self._outbox.pieces.append(trailers)
        self._finish()

    def _finish(self) -> None:
        if not self.half_closed:
            self._outbox.pieces.append(rst_stream(self.id, NO_ERROR))
        self._release()
        self.call = None
        self._owner.forget(self)

    def _deadline_passed(self) -> None:
        self.abandon(DEADLINE_EXCEEDED, "the call's deadline has passed")

    def _service_failed(self) -> None:
        log.exception("a service failed on a message; its call ends with INTERNAL")
        self.abandon(INTERNAL, "the service failed")

    def _drop_unsent(self) -> None:
        if self.queue.size:
            self._outbox.drop(self)

    def _release(self) -> None:
        self._drop_unsent()
        self._release_input()

    def _release_input(self) -> None:
        if self._held_bytes:
            self._outbox.held.give(self._held_bytes)
            self._held_bytes = 0
        self._held = []
        self._missing = 0
        self._head = b""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _tell_closed(call: Call | None) -> None:
    if call is None:
        return
    try:
        call.closed()
    except Exception:
        log.exception("a service failed when its call was closed")
