"""Frames that carry no call: SETTINGS, PING, WINDOW_UPDATE, RST_STREAM, PRIORITY, GOAWAY and types that nobody knows.

Each handler gets the bytes that were read, the bounds of its payload in them, the flags and the stream id.
"""

from __future__ import annotations

from fairlead.gateway.transport import frames as h2
from fairlead.gateway.transport.frames import ConnectionFault
from fairlead.gateway.transport.lifecycle import DRAIN_PING, ConnectionLife, Host

_WINDOW_UPDATES_PER_DATA_FRAME = 10
_WINDOW_UPDATES_PER_STREAM = 2
_WINDOW_UPDATES_FREE = 1000
"""WINDOW_UPDATE frames up to these counts are an honest peer's, as every DATA frame that it gets may cause some."""


class ControlFrames(ConnectionLife):
    """The handlers of control frames."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._window_updates = 0
        self._streams_opened = 0
        self._max_credit = 0
        """No stream has been granted more than this beyond its initial window."""

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
                self._close_if_drained()
        elif self._never_opened(stream_id):
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"RST_STREAM of stream {stream_id}, which is not open")

    def _on_settings(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stream_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
        if (stop - start) % 6 or (flags & h2.ACK and start != stop):
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if flags & h2.ACK:
            self._unproductive()
            return
        self._unproductive(1 + (stop - start) / 60)
        for name, value in h2.SETTING.iter_unpack(data[start:stop]):
            self._setting(name, value)
        self.outbox.pieces.append(h2.SETTINGS_ACK)
        self.outbox.pump()

    def _setting(self, name: int, value: int) -> None:
        outbox = self.outbox
        if name == h2.ENABLE_PUSH and value > 1:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if name == h2.MAX_FRAME_SIZE:
            if not h2.MIN_MAX_FRAME_BYTES <= value <= h2.MAX_MAX_FRAME_BYTES:
                raise ConnectionFault(h2.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
            outbox.max_frame = value
        elif name == h2.INITIAL_WINDOW_SIZE:
            self._initial_window(value)

    def _initial_window(self, value: int) -> None:
        """The peer changes the windows of all streams. It pays for the work that this makes."""
        outbox = self.outbox
        if value + self._max_credit > h2.MAX_WINDOW_BYTES:
            self._unproductive(len(self.streams) / 100)
            self._max_credit = max((stream.send_credit for stream in self.streams.values()), default=0)
            if value + max(self._max_credit, 0) > h2.MAX_WINDOW_BYTES:
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value} is too large")
        outbox.stream_window = value
        self._unproductive(len(outbox.stalled) / 100)
        for stream in list(outbox.stalled):
            outbox.window_opened(stream)

    def _on_ping(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if stream_id:
            raise ConnectionFault(h2.PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if stop - start != 8:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        payload = data[start:stop]
        self._unproductive()
        if not flags & h2.ACK:
            self.outbox.pieces.append(h2.ping(payload, ack=True))
        elif payload == DRAIN_PING and self._draining:
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
                if self._never_opened(stream_id):
                    raise ConnectionFault(h2.PROTOCOL_ERROR, f"WINDOW_UPDATE of stream {stream_id}, which is not open")
                return
            stream.send_credit += size
            if not size or outbox.stream_window + stream.send_credit > h2.MAX_WINDOW_BYTES:
                self._reset(stream, h2.FLOW_CONTROL_ERROR if size else h2.PROTOCOL_ERROR)
                return
            self._max_credit = max(self._max_credit, stream.send_credit)
            outbox.window_opened(stream)
        outbox.pump()

    def _on_unknown(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        self._unproductive()

    def _never_opened(self, stream_id: int) -> bool:
        """Whether the stream is idle (RFC 9113 section 5.1), where only HEADERS and PRIORITY may come."""
        return stream_id > self._last_id or not stream_id & 1

    def _count_window_update(self) -> None:
        self._window_updates += 1
        earned = (
            self.outbox.data_frames * _WINDOW_UPDATES_PER_DATA_FRAME + self._streams_opened * _WINDOW_UPDATES_PER_STREAM
        )
        if self._window_updates > earned + _WINDOW_UPDATES_FREE:
            self._unproductive()
