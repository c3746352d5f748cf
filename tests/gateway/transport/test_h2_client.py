"""The h2 library as the client: it checks every frame that it gets against the protocol's state machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes, Settings

from fairlead.gateway.transport import FastServer, Limits
from gateway.transport.wire import ECHO, FLOOD, LISTEN, ONCE, Service, message, until
from patience import PATIENCE_S


class Client:
    """Sends on request and keeps all events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.events: list[Event] = []

    @classmethod
    async def connect(cls, server: FastServer, settings: dict[SettingCodes, int] | None = None) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", server.port))
        if settings:
            client.h2.local_settings = Settings(client=True, initial_values=settings)
        client.h2.initiate_connection()
        client.flush()
        return client

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def open(self, path: str, *, end: bool = False) -> int:
        stream_id: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(
            stream_id,
            [
                (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
                ("te", "trailers"), ("content-type", "application/grpc+proto"),
            ],
            end_stream=end,
        )  # fmt: skip
        self.flush()
        return stream_id

    async def until(self, kind: type[Event], stream_id: int | None = None) -> Event:
        """Read until there is such an event."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream_id in (None, getattr(event, "stream_id", None)):
                    return event
            data = await asyncio.wait_for(self.reader.read(65_536), PATIENCE_S)
            assert data, f"the connection ended without {kind.__name__}"
            for event in self.h2.receive_data(data):
                self.events.append(event)
                if isinstance(event, DataReceived) and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()

    def data(self, stream_id: int) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, DataReceived) and e.stream_id == stream_id)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def server(service: Service) -> AsyncIterator[FastServer]:
    server = FastServer(service.services, limits=Limits(max_concurrent_streams=50, stream_window_bytes=100_000))
    await server.start("127.0.0.1:0")
    yield server
    await server.stop(0.1)


async def test_a_call(server: FastServer, service: Service) -> None:
    client = await Client.connect(server)
    stream_id = client.open(ECHO)
    framed = message(b"one") + message(b"") + message(b"three")
    for at in range(len(framed)):
        client.h2.send_data(stream_id, framed[at : at + 1], pad_length=at % 4 or None)
    client.h2.send_headers(stream_id, [("x-checksum", "1")], end_stream=True)
    client.flush()
    await client.until(StreamEnded, stream_id)
    response = await client.until(ResponseReceived)
    assert dict(response.headers) == {":status": "200", "content-type": "application/grpc"}  # type: ignore[attr-defined]
    trailers = await client.until(TrailersReceived)
    assert dict(trailers.headers) == {"grpc-status": "0"}  # type: ignore[attr-defined]
    assert client.data(stream_id) == framed
    assert service.calls[0].messages == [b"one", b"", b"three"]


async def test_an_early_answer_asks_the_client_to_stop(server: FastServer) -> None:
    client = await Client.connect(server)
    stream_id = client.open(ONCE)
    client.h2.send_data(stream_id, message(b"pick"))
    client.flush()
    reset = await client.until(StreamReset, stream_id)
    assert reset.error_code == 0  # type: ignore[attr-defined]
    assert client.data(stream_id) == message(b"pick")
    assert any(isinstance(event, TrailersReceived) for event in client.events)


async def test_settings_and_limits_are_said(server: FastServer) -> None:
    client = await Client.connect(server)
    await client.until(RemoteSettingsChanged)
    remote = client.h2.remote_settings
    assert remote.max_concurrent_streams == 50
    assert remote.initial_window_size == 100_000
    assert remote.max_frame_size == 65_536
    assert remote.max_header_list_size == 32_768
    for _ in range(50):
        client.open(LISTEN)
    client.h2.ping(b"12345678")
    client.flush()
    await client.until(PingAckReceived)
    assert server.streams == 50


@pytest.mark.parametrize("window", [1, 1000, 65_535, 1_000_000])
async def test_large_messages_both_ways_through_windows_of_any_size(server: FastServer, window: int) -> None:
    client = await Client.connect(server, {SettingCodes.INITIAL_WINDOW_SIZE: window})
    size = 3_000 if window == 1 else 300_000
    up, down = client.open(LISTEN), client.open(FLOOD)
    client.h2.send_data(down, message(b"%d" % size))
    framed = message(b"z" * size)
    await client.until(RemoteSettingsChanged)
    while framed:
        allowed = min(client.h2.local_flow_control_window(up), client.h2.max_outbound_frame_size)
        if allowed:
            client.h2.send_data(up, framed[:allowed])
            framed = framed[allowed:]
            client.flush()
        else:
            for event in client.h2.receive_data(await asyncio.wait_for(client.reader.read(65_536), PATIENCE_S)):
                client.events.append(event)
                if isinstance(event, DataReceived) and event.flow_controlled_length:
                    client.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            client.flush()
    await client.until(StreamEnded, down)
    assert len(client.data(down)) == size + 5 * -(-size // 50_000)


async def test_streams_are_reset_while_others_go_on(server: FastServer, service: Service) -> None:
    client = await Client.connect(server)
    ids = [client.open(ECHO) for _ in range(40)]
    for stream_id in ids[::2]:
        client.h2.reset_stream(stream_id, 8)
    for stream_id in ids[1::2]:
        client.h2.send_data(stream_id, message(b"%d" % stream_id), end_stream=True)
    client.flush()
    for stream_id in ids[1::2]:
        await client.until(StreamEnded, stream_id)
        assert client.data(stream_id) == message(b"%d" % stream_id)
    assert [call.ends for call in service.calls] == [["closed"], ["half_closed"]] * 20


async def test_the_clients_goaway_lets_calls_finish(server: FastServer, service: Service) -> None:
    client = await Client.connect(server)
    stream_id = client.open(LISTEN)
    client.h2.close_connection()
    client.flush()
    await until(lambda: service.calls)
    service.calls[0].stream.send([b"still"], end=True)
    client.writer.write_eof()
    assert message(b"still") in await asyncio.wait_for(client.reader.read(), PATIENCE_S)
    assert stream_id


async def test_a_fault_of_the_connection_is_told(server: FastServer, service: Service) -> None:
    client = await Client.connect(server)
    client.open(LISTEN)
    await client.until(RemoteSettingsChanged)
    client.writer.write(b"\0\0\x08\x06\0\0\0\0\x01" + b"\0" * 8)
    ended = await client.until(ConnectionTerminated)
    assert ended.error_code == 1  # type: ignore[attr-defined]
    assert b"PING on stream 1" in ended.additional_data  # type: ignore[attr-defined]
    await until(lambda: service.calls[0].ends)
    assert service.calls[0].ends == ["closed"]
