"""What RFC 9113 calls an error of the connection ends it with the named code; an error of a stream ends the stream."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from fairlead.gateway.transport import Limits
from fairlead.gateway.transport import frames as h2
from gateway.transport.wire import ECHO, LISTEN, ONCE, Wire, data, message

SMALL = Limits(stream_window_bytes=65_535, connection_window_bytes=65_535, max_frame_bytes=40_000)
"""Credit is given when more than 32,767 bytes are owed: just before that, 32,768 are left."""


def opened(wire: Wire, stream_id: int = 1, path: str = LISTEN) -> bytes:
    return wire.request(stream_id, path)


Case = tuple[str, int, Callable[[Wire], bytes]]

CONNECTION_ERRORS: list[Case] = [
    ("DATA on stream 0", h2.PROTOCOL_ERROR, lambda w: data(0, b"x")),
    ("DATA on an idle stream", h2.PROTOCOL_ERROR, lambda w: data(3, b"x")),
    ("DATA on a stream of the server", h2.PROTOCOL_ERROR, lambda w: opened(w, 5) + data(2, b"x")),
    ("DATA with padding longer than it", h2.PROTOCOL_ERROR,
     lambda w: opened(w) + h2.frame(h2.DATA, h2.PADDED, 1, b"\x05abcd")),
    ("padded DATA without a padding length", h2.FRAME_SIZE_ERROR,
     lambda w: opened(w) + h2.frame(h2.DATA, h2.PADDED, 1)),
    ("HEADERS on stream 0", h2.PROTOCOL_ERROR, lambda w: w.request(0)),
    ("HEADERS on an even stream", h2.PROTOCOL_ERROR, lambda w: w.request(2)),
    ("HEADERS on a stream that was skipped", h2.PROTOCOL_ERROR, lambda w: opened(w, 5) + w.request(3)),
    ("HEADERS with padding longer than it", h2.PROTOCOL_ERROR,
     lambda w: h2.frame(h2.HEADERS, h2.PADDED | h2.END_HEADERS, 1, b"\xff" + w.block())),
    ("HEADERS too short for priority", h2.FRAME_SIZE_ERROR,
     lambda w: h2.frame(h2.HEADERS, h2.PRIORITY_FLAG | h2.END_HEADERS, 1, b"\0\0\0")),
    ("a block with an index beyond the tables", h2.COMPRESSION_ERROR,
     lambda w: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff\xff\x03")),
    ("a block that ends within a string", h2.COMPRESSION_ERROR,
     lambda w: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\x00\x05ab")),
    ("a block with index 0", h2.COMPRESSION_ERROR, lambda w: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\x80")),
    ("a table size above what is allowed", h2.COMPRESSION_ERROR,
     lambda w: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\x3f\xff\xff\x7f")),
    ("another frame within a header block", h2.PROTOCOL_ERROR,
     lambda w: w.request(1, flags=0) + h2.ping(b"12345678")),
    ("HEADERS within a header block", h2.PROTOCOL_ERROR, lambda w: w.request(1, flags=0) + w.request(3)),
    ("an unknown frame within a header block", h2.PROTOCOL_ERROR,
     lambda w: w.request(1, flags=0) + h2.frame(0xBE, 0, 1)),
    ("CONTINUATION of another stream", h2.PROTOCOL_ERROR,
     lambda w: w.request(1, flags=0) + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 3)),
    ("CONTINUATION without a block", h2.PROTOCOL_ERROR,
     lambda w: opened(w) + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1)),
    ("a header block without end", h2.ENHANCE_YOUR_CALM,
     lambda w: w.request(1, flags=0) + h2.frame(h2.CONTINUATION, 0, 1) * 100),
    ("a header block above all limits", h2.ENHANCE_YOUR_CALM,
     lambda w: w.request(1, flags=0) + h2.frame(h2.CONTINUATION, 0, 1, b"\0" * 16_000) * 5),
    ("a header list that a small block blows up", h2.ENHANCE_YOUR_CALM,
     lambda w: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, w.block(ECHO, ("big", "x" * 3900)) + b"\xbe" * 200)),
    ("PRIORITY on stream 0", h2.PROTOCOL_ERROR, lambda w: h2.frame(h2.PRIORITY, 0, 0, b"\0" * 5)),
    ("PRIORITY of a wrong size", h2.FRAME_SIZE_ERROR, lambda w: h2.frame(h2.PRIORITY, 0, 1, b"\0" * 4)),
    ("RST_STREAM on stream 0", h2.PROTOCOL_ERROR, lambda w: h2.rst_stream(0, 8)),
    ("RST_STREAM on an idle stream", h2.PROTOCOL_ERROR, lambda w: h2.rst_stream(1, 8)),
    ("RST_STREAM of a wrong size", h2.FRAME_SIZE_ERROR,
     lambda w: opened(w) + h2.frame(h2.RST_STREAM, 0, 1, b"\0" * 3)),
    ("SETTINGS on a stream", h2.PROTOCOL_ERROR, lambda w: h2.frame(h2.SETTINGS, 0, 1)),
    ("SETTINGS of a wrong size", h2.FRAME_SIZE_ERROR, lambda w: h2.frame(h2.SETTINGS, 0, 0, b"\0" * 5)),
    ("an acknowledgement of SETTINGS with a payload", h2.FRAME_SIZE_ERROR,
     lambda w: h2.frame(h2.SETTINGS, h2.ACK, 0, b"\0" * 6)),
    ("ENABLE_PUSH of 2", h2.PROTOCOL_ERROR, lambda w: h2.settings({h2.ENABLE_PUSH: 2})),
    ("INITIAL_WINDOW_SIZE too large", h2.FLOW_CONTROL_ERROR,
     lambda w: h2.settings({h2.INITIAL_WINDOW_SIZE: 2**31})),
    ("INITIAL_WINDOW_SIZE that makes a stream's window too large", h2.FLOW_CONTROL_ERROR,
     lambda w: opened(w) + h2.window_update(1, 2**31 - 1 - 65_535) + h2.settings({h2.INITIAL_WINDOW_SIZE: 65_536})),
    ("MAX_FRAME_SIZE too small", h2.PROTOCOL_ERROR, lambda w: h2.settings({h2.MAX_FRAME_SIZE: 16_383})),
    ("MAX_FRAME_SIZE too large", h2.PROTOCOL_ERROR, lambda w: h2.settings({h2.MAX_FRAME_SIZE: 2**24})),
    ("PUSH_PROMISE", h2.PROTOCOL_ERROR, lambda w: opened(w) + h2.frame(h2.PUSH_PROMISE, 4, 1, b"\0\0\0\2")),
    ("PING on a stream", h2.PROTOCOL_ERROR, lambda w: h2.frame(h2.PING, 0, 1, b"12345678")),
    ("PING of a wrong size", h2.FRAME_SIZE_ERROR, lambda w: h2.frame(h2.PING, 0, 0, b"1234567")),
    ("GOAWAY on a stream", h2.PROTOCOL_ERROR, lambda w: h2.frame(h2.GOAWAY, 0, 1, b"\0" * 8)),
    ("GOAWAY too short", h2.FRAME_SIZE_ERROR, lambda w: h2.frame(h2.GOAWAY, 0, 0, b"\0" * 7)),
    ("WINDOW_UPDATE of a wrong size", h2.FRAME_SIZE_ERROR, lambda w: h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\0" * 3)),
    ("WINDOW_UPDATE of 0 for the connection", h2.PROTOCOL_ERROR, lambda w: h2.window_update(0, 0)),
    ("WINDOW_UPDATE beyond the largest window", h2.FLOW_CONTROL_ERROR, lambda w: h2.window_update(0, 2**31 - 1)),
    ("WINDOW_UPDATE of an idle stream", h2.PROTOCOL_ERROR, lambda w: h2.window_update(1, 1)),
    ("a frame larger than allowed", h2.FRAME_SIZE_ERROR, lambda w: opened(w) + data(1, b"\0" * 40_001)),
    ("DATA beyond the connection's window", h2.FLOW_CONTROL_ERROR,
     lambda w: opened(w, 1) + opened(w, 3) + data(1, b"\0" * 32_767) + data(3, b"\0" * 32_769)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "send"), CONNECTION_ERRORS, ids=[case[0] for case in CONNECTION_ERRORS])
async def test_connection_error(name: str, code: int, send: Callable[[Wire], bytes]) -> None:
    wire = Wire(SMALL)
    written = wire.feed(send(wire))
    assert [frame.code for frame in written if frame.kind == h2.GOAWAY] == [code]
    assert written[-1].kind == h2.GOAWAY
    assert wire.transport.closing
    for call in wire.service.calls:
        wire.connection.connection_lost(None)
        assert call.ends == ["closed"]


async def test_a_client_of_http_1_is_told() -> None:
    wire = Wire(settled=False)
    written = wire.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [frame.code for frame in written] == [h2.PROTOCOL_ERROR]


@pytest.mark.parametrize("first", [h2.ping(b"12345678"), h2.SETTINGS_ACK, h2.window_update(0, 5)])
async def test_the_first_frame_must_be_settings(first: bytes) -> None:
    wire = Wire(settled=False)
    written = wire.feed(h2.PREFACE + first)
    assert [frame.code for frame in written] == [h2.PROTOCOL_ERROR]


STREAM_ERRORS: list[Case] = [
    ("DATA after the end", h2.STREAM_CLOSED, lambda w: opened(w, 3) + data(3, end=True) + data(3, b"x")),
    ("HEADERS after the end", h2.STREAM_CLOSED, lambda w: opened(w, 3) + data(3, end=True) + w.request(3)),
    ("trailers that do not end the stream", h2.PROTOCOL_ERROR, lambda w: opened(w, 3) + opened(w, 3)),
    ("trailers with a pseudo-header", h2.PROTOCOL_ERROR,
     lambda w: opened(w, 3) + w.request(3, flags=h2.END_HEADERS | h2.END_STREAM)),
    ("DATA beyond the stream's window", h2.FLOW_CONTROL_ERROR,
     lambda w: opened(w, 3) + data(3, b"\0" * 32_767) + data(3, b"\0" * 32_769)),
    ("WINDOW_UPDATE of 0", h2.PROTOCOL_ERROR, lambda w: opened(w, 3) + h2.window_update(3, 0)),
    ("WINDOW_UPDATE too large", h2.FLOW_CONTROL_ERROR, lambda w: opened(w, 3) + h2.window_update(3, 2**31 - 1)),
    ("PRIORITY of a wrong size", h2.FRAME_SIZE_ERROR, lambda w: opened(w, 3) + h2.frame(h2.PRIORITY, 0, 3, b"")),
    ("an upper-case name", h2.PROTOCOL_ERROR, lambda w: raw_request(w, 3, b"X-Up", b"1")),
    ("a name with a space", h2.PROTOCOL_ERROR, lambda w: raw_request(w, 3, b"a b", b"1")),
    ("an empty name", h2.PROTOCOL_ERROR, lambda w: raw_request(w, 3, b"", b"1")),
    ("a value with a line break", h2.PROTOCOL_ERROR, lambda w: raw_request(w, 3, b"x", b"a\r\nb")),
    ("a value with space around it", h2.PROTOCOL_ERROR, lambda w: raw_request(w, 3, b"x", b" a")),
    ("a connection header", h2.PROTOCOL_ERROR, lambda w: w.request(3, ECHO, ("connection", "close"))),
    ("transfer-encoding", h2.PROTOCOL_ERROR, lambda w: w.request(3, ECHO, ("transfer-encoding", "chunked"))),
    ("te other than trailers", h2.PROTOCOL_ERROR, lambda w: w.request(3, ECHO, ("te", "gzip"))),
    ("an unknown pseudo-header", h2.PROTOCOL_ERROR, lambda w: w.request(3, ECHO, (":status", "200"))),
    ("a pseudo-header behind others", h2.PROTOCOL_ERROR, lambda w: w.request(3, ECHO, (":path", "/b"))),
    ("no method", h2.PROTOCOL_ERROR, lambda w: w.request(3, without=[":method"])),
    ("no path", h2.PROTOCOL_ERROR, lambda w: w.request(3, without=[":path"])),
    ("an empty path", h2.PROTOCOL_ERROR, lambda w: w.request(3, "")),
    ("no scheme", h2.PROTOCOL_ERROR, lambda w: w.request(3, without=[":scheme"])),
    ("a malformed grpc-timeout", h2.PROTOCOL_ERROR, lambda w: w.request(3, ECHO, ("grpc-timeout", "1d"))),
    ("a malformed content-length", h2.PROTOCOL_ERROR, lambda w: w.request(3, ECHO, ("content-length", "-1"))),
    ("two content-lengths", h2.PROTOCOL_ERROR,
     lambda w: w.request(3, ECHO, ("content-length", "1"), ("content-length", "2"))),
    ("less DATA than content-length says", h2.PROTOCOL_ERROR,
     lambda w: w.request(3, LISTEN, ("content-length", "9")) + data(3, message(b"abc"), end=True)),
    ("more DATA than content-length says", h2.PROTOCOL_ERROR,
     lambda w: w.request(3, LISTEN, ("content-length", "7")) + data(3, message(b"abc"), end=True)),
    ("a content-length and no DATA", h2.PROTOCOL_ERROR,
     lambda w: w.request(3, LISTEN, ("content-length", "7"), flags=h2.END_HEADERS | h2.END_STREAM)),
]  # fmt: skip


def raw_request(wire: Wire, stream_id: int, name: bytes, value: bytes) -> bytes:
    literal = b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
    return h2.frame(h2.HEADERS, h2.END_HEADERS, stream_id, wire.block() + literal)


@pytest.mark.parametrize(("name", "code", "send"), STREAM_ERRORS, ids=[case[0] for case in STREAM_ERRORS])
async def test_stream_error(name: str, code: int, send: Callable[[Wire], bytes]) -> None:
    wire = Wire(Limits(stream_window_bytes=65_535))
    wire.feed(wire.request(1))
    written = wire.feed(send(wire))
    assert [(frame.stream_id, frame.code) for frame in written if frame.kind == h2.RST_STREAM] == [(3, code)]
    for call in wire.service.calls[1:]:
        assert call.ends.count("closed") == 1
    # The other stream does not notice, and neither does the next one.
    assert not wire.transport.closing
    echoed = wire.feed(data(1, message(b"still here")))
    assert message(b"still here") in [frame.payload for frame in echoed]
    assert message(b"new") in [frame.payload for frame in wire.feed(wire.request(5) + data(5, message(b"new")))]


async def test_frames_of_a_stream_that_the_server_has_ended_are_ignored_and_count_for_the_connection() -> None:
    wire = Wire(SMALL)
    written = wire.feed(wire.request(1, ONCE) + data(1, message(b"a")))
    assert [frame.code for frame in written if frame.kind == h2.RST_STREAM] == [h2.NO_ERROR]
    late = data(1, b"\0" * 16_384) * 3 + h2.window_update(1, 5) + h2.rst_stream(1, h2.CANCEL)
    written = wire.feed(late + wire.request(1, flags=h2.END_HEADERS | h2.END_STREAM))
    assert {frame.kind for frame in written} == {h2.WINDOW_UPDATE}
    assert sum(struct.unpack(">I", frame.payload)[0] for frame in written) >= 16_384 * 2
    assert not wire.transport.closing


async def test_data_on_a_stream_that_the_client_has_reset_is_an_error_of_the_stream() -> None:
    wire = Wire()
    wire.feed(wire.request(1, LISTEN) + h2.rst_stream(1, h2.CANCEL))
    written = wire.feed(data(1, b"x"))
    assert [(frame.kind, frame.code) for frame in written] == [(h2.RST_STREAM, h2.STREAM_CLOSED)]
    assert wire.service.calls[0].ends == ["closed"]


async def test_unknown_frames_settings_and_flags_are_ignored() -> None:
    wire = Wire()
    written = wire.feed(
        h2.frame(0xBE, 0xFF, 0, b"what") + h2.settings({0xABCD: 1}) + h2.frame(h2.PING, 0xFE, 0, b"12345678")
    )
    assert [(frame.kind, frame.flags) for frame in written] == [(h2.SETTINGS, h2.ACK), (h2.PING, h2.ACK)]
    # The reserved bit of a stream id means nothing.
    wire.feed(wire.request(1 | 0x8000_0000) + data(1, message(b"a")))
    assert wire.service.calls[0].messages == [b"a"]


async def test_padding_and_priority_are_taken_off() -> None:
    wire = Wire()
    block = wire.block()
    padded = b"\x03" + b"\0\0\0\0\x10" + block + b"\0" * 3
    wire.feed(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.PADDED | h2.PRIORITY_FLAG, 1, padded))
    wire.feed(h2.frame(h2.DATA, h2.PADDED, 1, b"\x04" + message(b"abc") + b"\0" * 4))
    wire.feed(h2.frame(h2.DATA, h2.PADDED | h2.END_STREAM, 1, b"\x01\0"))
    assert wire.service.calls[0].messages == [b"abc"]
    assert wire.service.calls[0].ends == ["half_closed"]


async def test_a_header_block_may_come_in_parts() -> None:
    wire = Wire()
    block = wire.block(LISTEN, ("x-a", "1"))
    parts = h2.frame(h2.HEADERS, h2.END_STREAM, 1, block[:3]) + h2.frame(h2.CONTINUATION, 0, 1, block[3:4])
    wire.feed(parts + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[4:]))
    assert wire.service.calls[0].metadata["x-a"] == "1"
    assert wire.service.calls[0].ends == ["half_closed"]


async def test_streams_beyond_the_limit_are_refused() -> None:
    wire = Wire(Limits(max_concurrent_streams=2))
    written = wire.feed(b"".join(wire.request(n) for n in (1, 3, 5)))
    assert [(frame.stream_id, frame.code) for frame in written] == [(5, h2.REFUSED_STREAM)]
    wire.feed(data(1, end=True))
    assert not wire.feed(wire.request(7))
