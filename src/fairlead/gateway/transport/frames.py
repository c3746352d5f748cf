"""The frame layer of HTTP/2 (RFC 9113 sections 4, 6 and 7): numbers, layouts, builders and the fault of a connection.

A frame is nine bytes (24 bits of length, type, flags, a reserved bit and 31 bits of stream id) and its payload.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEADER_BYTES = 9
HEADER = struct.Struct(">BHBBI")
"""High 8 bits of the length, low 16 bits, type, flags, stream id with the reserved bit."""

UINT32 = struct.Struct(">I")
SETTING = struct.Struct(">HI")

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

STREAM_ID_MASK = 0x7FFF_FFFF
MAX_STREAM_ID = 0x7FFF_FFFF
MAX_WINDOW_BYTES = 0x7FFF_FFFF
DEFAULT_WINDOW_BYTES = 65_535
MIN_MAX_FRAME_BYTES = 16_384
MAX_MAX_FRAME_BYTES = 16_777_215

SETTINGS_ACK = HEADER.pack(0, 0, SETTINGS, ACK, 0)


class ConnectionFault(Exception):
    """The peer broke a rule that concerns the whole connection: it ends with GOAWAY and this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} (HTTP/2 error {code:#x})")
        self.code = code
        self.reason = reason


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One whole frame."""
    size = len(payload)
    return HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS frame; identifier -> value."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in values.items()))


def window_update(stream_id: int, increment_bytes: int) -> bytes:
    """Credit for a stream, or for the connection with id 0."""
    return frame(WINDOW_UPDATE, 0, stream_id, UINT32.pack(increment_bytes))


def rst_stream(stream_id: int, code: int) -> bytes:
    """The immediate end of a stream."""
    return frame(RST_STREAM, 0, stream_id, UINT32.pack(code))


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    """A PING of eight opaque bytes, or its answer."""
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last_stream_id: int, code: int, reason: str = "") -> bytes:
    """No stream above `last_stream_id` was or will be processed."""
    return frame(GOAWAY, 0, 0, UINT32.pack(last_stream_id) + UINT32.pack(code) + reason.encode()[:256])


def without_padding(data: bytes, start: int, stop: int, flags: int) -> tuple[int, int]:
    """The bounds of a DATA or HEADERS payload without padding and priority fields."""
    if flags & PADDED:
        if start == stop:
            raise ConnectionFault(FRAME_SIZE_ERROR, "padded frame without a padding length")
        padding = data[start]
        start += 1
        if padding > stop - start:
            raise ConnectionFault(PROTOCOL_ERROR, "padding longer than the frame")
        stop -= padding
    if flags & PRIORITY_FLAG:
        if stop - start < 5:
            raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS frame too short for its priority fields")
        start += 5
    return start, stop
