"""Peers that flood, stall or leave: bounded work, bounded memory, and no harm to anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

import pytest

from fairlead.gateway.transport import FastServer, Limits
from fairlead.gateway.transport import frames as h2
from gateway.transport.wire import ECHO, FLOOD, LISTEN, ONCE, Service, Wire, data, message, parse, until
from patience import PATIENCE_S

FEW = Limits(control_frames_burst=50, control_frames_per_s=0, resets_burst=20, resets_per_s=0)

FLOODS: list[tuple[str, Callable[[Wire, int], bytes]]] = [
    ("PING", lambda w, _: h2.ping(b"12345678")),
    ("PING answers", lambda w, _: h2.ping(b"12345678", ack=True)),
    ("SETTINGS", lambda w, _: h2.settings({})),
    ("acknowledgements of SETTINGS", lambda w, _: h2.SETTINGS_ACK),
    ("SETTINGS that say the same often", lambda w, _: h2.settings({h2.INITIAL_WINDOW_SIZE: 5}) ),
    ("PRIORITY", lambda w, _: h2.frame(h2.PRIORITY, 0, 99, b"\0" * 5)),
    ("unknown frames", lambda w, _: h2.frame(0xEE, 0, 0)),
    ("GOAWAY", lambda w, _: h2.goaway(0, 0)),
    ("empty DATA", lambda w, n: (w.request(1, LISTEN) if n == 0 else b"") + data(1)),
    ("malformed requests", lambda w, n: w.request(2 * n + 1, ECHO, ("connection", "x"))),
    ("streams opened and reset", lambda w, n: w.request(2 * n + 1, LISTEN) + h2.rst_stream(2 * n + 1, 8)),
    ("requests that break a stream", lambda w, n: w.request(2 * n + 1, LISTEN) + h2.window_update(2 * n + 1, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "one"), FLOODS, ids=[name for name, _ in FLOODS])
async def test_a_flood_ends_in_enhance_your_calm(name: str, one: Callable[[Wire, int], bytes]) -> None:
    wire = Wire(FEW)
    ends = []
    for number in range(200):
        ends += [frame.code for frame in wire.feed(one(wire, number)) if frame.kind == h2.GOAWAY]
    assert ends == [h2.ENHANCE_YOUR_CALM]
    assert wire.transport.closing


async def test_window_updates_are_counted_against_what_was_sent() -> None:
    wire = Wire(FEW)
    written = []
    for _ in range(1200):
        written += wire.feed(h2.window_update(0, 1))
    assert [frame.code for frame in written if frame.kind == h2.GOAWAY] == [h2.ENHANCE_YOUR_CALM]
    honest = Wire(FEW)
    honest.feed(h2.settings({h2.INITIAL_WINDOW_SIZE: 2**30}))
    for number in range(400):
        stream_id = 2 * number + 1
        written = honest.feed(honest.request(stream_id, FLOOD) + data(stream_id, message(b"50000")))
        sent = [len(frame.payload) for frame in written if frame.kind == h2.DATA]
        for size in sent:
            honest.feed(h2.window_update(0, size))
    assert not honest.transport.closing


async def test_many_headers_end_the_call_only() -> None:
    wire = Wire(Limits(max_header_list_bytes=16_384))
    written = wire.feed(wire.request(1, ECHO, *((f"x-{n}", "y" * 500) for n in range(50))))
    assert wire.fields(written[0])["grpc-status"] == "8"
    assert not wire.service.calls
    assert message(b"a") in [f.payload for f in wire.feed(wire.request(3) + data(3, message(b"a")))]


async def test_a_peer_that_does_not_read_is_not_read() -> None:
    wire = Wire(Limits(write_buffer_bytes=100_000))
    wire.feed(h2.settings({h2.INITIAL_WINDOW_SIZE: 2**30}) + h2.window_update(0, 2**30))
    wire.transport.blocked = True
    wire.feed(wire.request(1, FLOOD) + data(1, message(b"50000000")))
    assert not wire.transport.reading
    assert wire.transport.unsent < 100_000 + 2 * 65_536 + 10_000
    # Calls that end meanwhile add their trailers and no data.
    wire.feed(wire.request(3, ONCE) + data(3, message(b"x" * 10_000)))
    assert wire.transport.unsent < 100_000 + 2 * 65_536 + 10_000
    wire.transport.unblock()
    written = wire.take()
    assert wire.transport.reading
    assert not wire.connection.streams
    assert {frame.stream_id for frame in written if frame.kind == h2.HEADERS and frame.flags & h2.END_STREAM} == {1, 3}


async def test_answers_that_nobody_reads_are_bounded() -> None:
    wire = Wire(Limits(max_held_bytes=1_000_000))
    written = wire.feed(wire.request(1, LISTEN) + wire.request(3, FLOOD) + data(3, message(b"900000")))
    stream = wire.service.calls[0].stream
    stream.send([b"x" * 400_000])
    written = wire.take()
    assert (h2.RST_STREAM, 1, h2.ENHANCE_YOUR_CALM) in [
        (f.kind, f.stream_id, f.code) for f in written if f.kind == h2.RST_STREAM
    ]
    await asyncio.sleep(0)
    assert wire.service.calls[0].ends == ["closed"]
    wire.feed(h2.window_update(0, 2**20) + h2.window_update(3, 2**20))
    assert not wire.connection.streams
    assert wire.server.held.held == 0


async def test_incomplete_messages_are_bounded_over_all_connections() -> None:
    limits = Limits(max_held_bytes=1_000_000)
    first = Wire(limits)
    first.feed(first.request(1, LISTEN) + data(1, message(b"\0" * 1_000_000)[:60_000]) * 10)
    second = Wire(limits, beside=first)
    second.feed(second.request(1, LISTEN))
    written = []
    for _ in range(10):
        written += second.feed(data(1, message(b"\0" * 1_000_000)[:50_000]))
    ended = [frame for frame in written if frame.kind == h2.HEADERS]
    assert second.fields(ended[0])["grpc-status"] == "8"
    assert [call.ends for call in first.service.calls] == [[], ["closed"]]
    assert first.connection.streams
    assert first.server.held.held <= 1_000_000


async def test_one_connection_cannot_use_up_what_all_may_hold() -> None:
    limits = Limits(max_held_bytes=1_000_000, max_held_bytes_per_connection=300_000)
    first = Wire(limits)
    written = first.feed(first.request(1, LISTEN))
    for _ in range(10):
        written += first.feed(data(1, message(b"\0" * 1_000_000)[:50_000]))
    assert first.fields(next(f for f in written if f.kind == h2.HEADERS))["grpc-status"] == "8"
    second = Wire(limits, beside=first)
    second.feed(second.request(1, LISTEN) + data(1, message(b"\0" * 250_000)[:60_000]) * 4)
    assert second.connection.streams


async def test_settings_that_make_work_are_paid_for() -> None:
    wire = Wire(Limits(control_frames_burst=1000, control_frames_per_s=0))
    wire.feed(h2.settings({h2.INITIAL_WINDOW_SIZE: 0}))
    for number in range(200):
        wire.feed(wire.request(2 * number + 1, FLOOD) + data(2 * number + 1, message(b"10")))
    entries = b"".join(h2.SETTING.pack(h2.INITIAL_WINDOW_SIZE, 0) for _ in range(5000))
    written = wire.feed(h2.frame(h2.SETTINGS, 0, 0, entries))
    assert [frame.code for frame in written if frame.kind == h2.GOAWAY] == [h2.ENHANCE_YOUR_CALM]


async def test_a_message_in_frames_of_one_byte_counts_what_it_costs() -> None:
    wire = Wire(Limits(max_held_bytes=1_000_000))
    wire.feed(wire.request(1, LISTEN) + data(1, message(b"\0" * 500_000)[:5]))
    written = []
    for _ in range(20):
        written += wire.feed(data(1, b"\0") * 1000)
    ended = [frame for frame in written if frame.kind == h2.HEADERS]
    assert wire.fields(ended[0])["grpc-status"] == "8"
    assert wire.server.held.held == 0


async def test_the_server_keeps_the_deadline_too() -> None:
    wire = Wire()
    assert not wire.feed(wire.request(1, LISTEN, ("grpc-timeout", "1m")))
    wire.feed(wire.request(3, LISTEN, ("grpc-timeout", "99999999H")))
    await until(lambda: wire.transport.written)
    written = wire.take()
    assert wire.fields(written[0])["grpc-status"] == "4"
    assert wire.service.calls[0].ends == ["closed"]
    assert list(wire.connection.streams) == [3]
    # A call that has ended in time has no deadline left.
    wire.feed(wire.request(5, ONCE, ("grpc-timeout", "1m")) + data(5, message(b"x")))
    await asyncio.sleep(0.02)
    assert not wire.take()
    assert wire.service.calls[2].ends == []


async def test_the_end_within_a_message() -> None:
    wire = Wire()
    for stream_id, cut in ((1, 3), (3, 8)):
        written = wire.feed(wire.request(stream_id, LISTEN) + data(stream_id, message(b"abcdef")[:cut], end=True))
        fields = wire.fields(written[0])
        assert (fields["grpc-status"], fields["grpc-message"]) == ("13", "the stream ended within a message")
    assert [call.ends for call in wire.service.calls] == [["closed"], ["closed"]]


@pytest.mark.parametrize(("encoding", "status"), [("gzip", "12"), ("identity", "13"), (None, "13")])
async def test_compressed_messages_are_not_understood(encoding: str | None, status: str) -> None:
    wire = Wire()
    extra = (("grpc-encoding", encoding),) if encoding else ()
    written = wire.feed(wire.request(1, LISTEN, *extra) + data(1, b"\x01" + message(b"abc")[1:]))
    fields = wire.fields(written[0])
    assert fields["grpc-status"] == status
    assert fields.get("grpc-accept-encoding") == ("identity" if status == "12" else None)
    assert wire.service.calls[0].ends == ["closed"]


@pytest.mark.parametrize(
    ("change", "status"), [({"without": [":method"], "method": "GET"}, "405"), ({"type": "text/html"}, "415")]
)
async def test_requests_that_are_not_grpc(change: dict[str, object], status: str) -> None:
    wire = Wire()
    fields = [(":method", change.get("method", "POST")), (":scheme", "http"), (":path", ECHO)]
    fields.append(("content-type", change.get("type", "application/grpc")))
    written = wire.feed(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, wire.encoder.encode(fields)))
    assert [frame.kind for frame in written] == [h2.HEADERS]
    assert wire.fields(written[0])[":status"] == status
    assert not wire.connection.streams


async def test_a_service_that_cannot_begin_a_call(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()

    def broken(*_: object) -> None:
        raise RuntimeError("caused by the test")

    wire.service.services["/test.Test/Unborn"] = broken  # type: ignore[assignment]
    with caplog.at_level(logging.CRITICAL):
        written = wire.feed(wire.request(1, "/test.Test/Unborn"))
    assert wire.fields(written[0])["grpc-status"] == "13"
    assert message(b"a") in [f.payload for f in wire.feed(wire.request(3) + data(3, message(b"a")))]


@pytest.mark.parametrize("sent", [b"", h2.PREFACE[:10], h2.PREFACE, h2.PREFACE + h2.settings({})[:5]])
async def test_a_client_that_does_not_greet_is_left(sent: bytes) -> None:
    server = FastServer(Service().services, limits=Limits(handshake_s=0.1))
    await server.start("127.0.0.1:0")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(10_000), PATIENCE_S)
    assert server.connections == 0
    writer.close()
    await server.stop(0)


async def test_a_silent_peer_is_asked_and_then_left() -> None:
    service = Service()
    server = FastServer(service.services, limits=Limits(keepalive_s=0.1, keepalive_timeout_s=0.1))
    await server.start("127.0.0.1:0")
    wire = Wire()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(h2.PREFACE + h2.settings({}) + wire.request(1, LISTEN))
    received = b""
    answered = 0
    try:
        while chunk := await asyncio.wait_for(reader.read(65_536), PATIENCE_S):
            received += chunk
            asked = sum(f.kind == h2.PING for f in parse(received))
            if asked > answered and answered < 3:
                answered += 1
                writer.write(h2.ping(b"alive?\0\0", ack=True))
    except ConnectionResetError:
        pass
    assert sum(frame.kind == h2.PING for frame in parse(received)) == 4
    assert service.calls[0].ends == ["closed"]
    writer.close()
    await server.stop(0)


async def test_connections_beyond_the_limit_are_closed_at_once() -> None:
    server = FastServer(Service().services, limits=Limits(max_connections=1))
    await server.start("127.0.0.1:0")
    first_reader, first = await asyncio.open_connection("127.0.0.1", server.port)
    assert await first_reader.readexactly(9)
    reader, second = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    assert server.connections == 1
    first.close()
    second.close()
    await server.stop(0)


async def test_a_connection_that_is_reset_closes_each_call_once() -> None:
    service = Service()
    server = FastServer(service.services)
    await server.start("127.0.0.1:0")
    wire = Wire()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    # One ended by its service, one in the middle of a message, one idle, one with an answer that waits for its window.
    writer.write(
        h2.PREFACE + h2.settings({h2.INITIAL_WINDOW_SIZE: 10})
        + wire.request(1, ONCE) + data(1, message(b"x"))
        + wire.request(3, LISTEN) + data(3, message(b"y" * 100)[:50])
        + wire.request(5, LISTEN)
        + wire.request(7, FLOOD) + data(7, message(b"100000"))
    )  # fmt: skip
    await reader.readexactly(60)
    await until(lambda: len(service.calls) == 4)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
    await until(lambda: not server.connections)
    assert [call.ends for call in service.calls] == [[], ["closed"], ["closed"], []]
    assert server.held.held == 0
    await server.stop(0)
