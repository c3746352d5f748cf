"""What one connection has to write: frames in order, coalesced into few writes, within the peer's windows.

DATA leaves in one go while windows and socket allow it. What they do not allow waits in the streams' queues, and is
sent round-robin, a quantum each, so that a large answer does not hold up small ones. While the socket takes no more,
nothing but control frames is added, and the connection reads nothing, so that these are bounded too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fairlead.gateway.transport.frames import (
    DATA,
    DEFAULT_WINDOW_BYTES,
    HEADER,
    MIN_MAX_FRAME_BYTES,
)
from fairlead.gateway.transport.limits import HeldBytes

if TYPE_CHECKING:
    import asyncio

    from fairlead.gateway.transport.grpc_stream import GrpcStream

_QUANTUM_BYTES = 64 * 1024
_JOIN_BYTES = 64 * 1024
"""Up to so many bytes are joined for one write; above, copying costs more than the socket's gathering write."""


class Outbox:
    """The sending half of one connection."""

    __slots__ = (
        "corked",
        "data_frames",
        "held",
        "max_frame",
        "paused",
        "pieces",
        "size",
        "stalled",
        "stream_window",
        "transport",
        "waiting",
        "window",
        "write_buffer_bytes",
    )

    def __init__(self, transport: asyncio.Transport, held: HeldBytes, write_buffer_bytes: int) -> None:
        self.transport = transport
        self.held = held
        self.write_buffer_bytes = write_buffer_bytes
        self.pieces: list[bytes | memoryview] = []
        """Frames that are not yet written."""
        self.size = 0
        """Bytes of DATA among them."""
        self.corked = False
        """Whether somebody will flush soon, so that single frames need no write of their own."""
        self.paused = False
        """Whether the socket's buffer is full."""
        self.window = DEFAULT_WINDOW_BYTES
        """Bytes of DATA that the peer admits on the connection."""
        self.stream_window = DEFAULT_WINDOW_BYTES
        """What the peer admits on each stream from its start."""
        self.max_frame = MIN_MAX_FRAME_BYTES
        self.waiting: dict[GrpcStream, None] = {}
        """Streams with something to send that their own windows admit, in the order of their turns."""
        self.stalled: dict[GrpcStream, None] = {}
        """Streams with something to send whose own windows are used up."""
        self.data_frames = 0

    def add(self, frame: bytes) -> None:
        """A frame that no window concerns."""
        self.pieces.append(frame)
        if not self.corked:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the socket."""
        pieces = self.pieces
        if not pieces:
            return
        self.pieces = []
        size, self.size = self.size, 0
        if self.transport.is_closing():
            return
        if len(pieces) == 1:
            self.transport.write(pieces[0])
        elif size <= _JOIN_BYTES:
            self.transport.write(b"".join(pieces))
        else:
            self.transport.writelines(cast("list[bytes]", pieces))

    def pump(self) -> None:
        """Send what waits, as far as windows and socket allow."""
        waiting = self.waiting
        while waiting and not self.paused and self.window > 0:
            self._send_queued(next(iter(waiting)))
            if self.size >= self.write_buffer_bytes:
                self.flush()
        if not self.corked:
            self.flush()

    def window_opened(self, stream: GrpcStream) -> None:
        """The peer admits more on a stream."""
        if stream in self.stalled and self.stream_window + stream.send_credit > 0:
            del self.stalled[stream]
            self.waiting[stream] = None

    def drop(self, stream: GrpcStream) -> None:
        """What the stream has queued will not be sent."""
        self.waiting.pop(stream, None)
        self.stalled.pop(stream, None)
        self.held.give(stream.queue.clear())

    def _send_queued(self, stream: GrpcStream) -> None:
        """Send up to a quantum of a stream's queue; with what is left it waits for its next turn, or for credit."""
        queue = stream.queue
        del self.waiting[stream]
        admitted = max(0, min(self.window, self.stream_window + stream.send_credit, _QUANTUM_BYTES, queue.size))
        left = admitted
        while left:
            size = min(left, self.max_frame)
            self.pieces.append(HEADER.pack(size >> 16, size & 0xFFFF, DATA, 0, stream.id))
            self.pieces.extend(queue.take(size))
            self.data_frames += 1
            left -= size
        self.window -= admitted
        stream.send_credit -= admitted
        self.size += admitted
        self.held.give(admitted)
        if not queue.size:
            stream.drained()
            return
        stream.grant()
        if self.stream_window + stream.send_credit > 0:
            self.waiting[stream] = None
        else:
            self.stalled[stream] = None
