"""The life of one HTTP/2 connection: made, paused, asked whether it is alive, drained, ended.

The end of a connection is the end of each of its calls, and each service is told exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol, cast

from fairlead.clock import Clock
from fairlead.gateway.transport import frames as h2
from fairlead.gateway.transport.call import Services
from fairlead.gateway.transport.frames import ConnectionFault
from fairlead.gateway.transport.grpc_stream import GrpcStream
from fairlead.gateway.transport.limits import HeldBytes, Limits, RateLimit
from fairlead.gateway.transport.outbox import Outbox
from fairlead.gateway.transport.status import UNAVAILABLE

log = logging.getLogger(__name__)

_RECENT_STREAMS = 1024
_LINGER_S = 5.0
DRAIN_PING = b"drain\0\0\0"
_ALIVE_PING = b"alive?\0\0"


class Host(Protocol):
    """The server, as its connections see it."""

    services: Services
    limits: Limits
    held: HeldBytes
    clock: Clock

    def joined(self, connection: ConnectionLife) -> bool:
        """A connection is made. False when it is one too many or the server stops."""
        ...

    def left(self, connection: ConnectionLife) -> None:
        """A connection is lost."""
        ...


class ConnectionLife(asyncio.Protocol):
    """What a connection is besides its frames."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.limits = host.limits
        self.streams: dict[int, GrpcStream] = {}
        """Stream id -> call, of those that are open in a direction."""
        self.outbox: Outbox
        self._transport: asyncio.Transport
        self._last_id = 0
        """The highest stream id that the client has used."""
        self._accepts_to = h2.MAX_STREAM_ID
        """The highest stream id that is still served: what GOAWAY has said."""
        self._ended_early: deque[int] = deque(maxlen=_RECENT_STREAMS)
        """Streams that this side has reset, for which frames may be under way."""
        self._control_rate: RateLimit
        self._reset_rate: RateLimit
        self._heard = True
        """Whether anything has come since the last look."""
        self._asked = False
        """Whether a PING waits for its answer."""
        self._unwritten_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._closed = False

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limits = self.limits
        self._transport = cast(asyncio.Transport, transport)
        held = HeldBytes(limits.max_held_bytes_per_connection, self._host.held)
        self.outbox = Outbox(self._transport, held, limits.write_buffer_bytes)
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
        self._timer = asyncio.get_running_loop().call_later(limits.handshake_s, self.abort)

    def pause_writing(self) -> None:
        self.outbox.paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.outbox.paused = False
        if not self._closed:
            self.outbox.pump()
        if not self.outbox.paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._close_streams()
        self._host.left(self)

    # From the server.

    def drain(self) -> None:
        """Serve what has begun, and nothing that begins after the client has learned of it: GOAWAY twice, the second
        one when a PING in between has come back (RFC 9113 section 6.8)."""
        if self._closed or self._draining:
            return
        self._draining = True
        self.outbox.add(h2.goaway(h2.MAX_STREAM_ID, h2.NO_ERROR, "server stops") + h2.ping(DRAIN_PING))

    def refuse_new(self) -> None:
        """The second GOAWAY. The connection ends with its last stream."""
        if self._closed or self._accepts_to != h2.MAX_STREAM_ID:
            return
        self._draining = True
        self._accepts_to = self._last_id
        self.outbox.add(h2.goaway(self._last_id, h2.NO_ERROR, "server stops"))
        self._close_if_drained()

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

    def forget(self, stream: GrpcStream) -> None:
        """A stream is over in both directions."""
        self.streams.pop(stream.id, None)
        if not stream.half_closed:
            self._ended_early.append(stream.id)
        if self._draining:
            self._close_if_drained()

    # Ends.

    def _reset(self, stream: GrpcStream, code: int) -> None:
        """A fault of one stream: it ends on both sides, the others go on."""
        self.streams.pop(stream.id, None)
        stream.close()
        self._unproductive()
        self._send_reset(stream.id, code)
        if self._draining:
            self._close_if_drained()

    def _send_reset(self, stream_id: int, code: int) -> None:
        self._ended_early.append(stream_id)
        self.outbox.pieces.append(h2.rst_stream(stream_id, code))

    def _unproductive(self, cost: float = 1.0) -> None:
        if not self._control_rate.admits(self._host.clock.monotonic_s(), cost):
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    def _end(self, code: int, reason: str) -> None:
        """GOAWAY and the end of the connection."""
        if self._closed:
            return
        log.info("an HTTP/2 connection ends with error %#x: %s", code, reason)
        self.outbox.pieces.append(h2.goaway(min(self._last_id, self._accepts_to), code, reason))
        self._close()

    def _close(self) -> None:
        """Close when everything is written, or after a while: the peer may not read."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self.outbox.flush()
        self._transport.close()
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)
        self._close_streams()

    def _close_streams(self) -> None:
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.close()

    def _close_if_drained(self) -> None:
        """Close when the second GOAWAY is out and no stream is left."""
        if not self.streams and self._accepts_to != h2.MAX_STREAM_ID and not self._closed:
            self._close()

    def _shook_hands(self) -> None:
        """The client has sent its SETTINGS."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.limits.keepalive_s, self._keepalive)

    def _keepalive(self) -> None:
        """Ask a silent peer whether it is there, and close when it does not answer. A peer that reads what waits for it
        is there, too."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        unwritten = self._transport.get_write_buffer_size()
        if self._heard or unwritten < self._unwritten_bytes:
            self._heard = self._asked = False
            self._unwritten_bytes = unwritten
            self._timer = loop.call_later(self.limits.keepalive_s, self._keepalive)
        elif self._asked:
            log.info("an HTTP/2 peer does not answer; its connection is closed")
            self.abort()
        else:
            self._asked = True
            self._unwritten_bytes = unwritten
            self.outbox.add(h2.ping(_ALIVE_PING))
            self._timer = loop.call_later(self.limits.keepalive_timeout_s, self._keepalive)
