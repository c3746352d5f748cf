"""Listening, draining and TLS, with real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from pathlib import Path

import grpc
import pytest
import uvloop

from fairlead.gateway.transport import FastServer, Limits, ServerTls
from fairlead.gateway.transport import frames as h2
from fairlead.gateway.transport.server import parse_address
from fairlead.gateway.transport.tls import self_signed_certificate
from gateway.transport.wire import ECHO, FLOOD, LISTEN, ONCE, Frame, Service, Wire, data, message, parse, until
from patience import PATIENCE_S


class Client:
    """A raw HTTP/2 client on a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.wire = Wire()
        self.frames: list[Frame] = []

    @classmethod
    async def connect(cls, server: FastServer) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", server.port))
        client.writer.write(h2.PREFACE + h2.settings({}))
        return client

    def send(self, frames: bytes) -> None:
        self.writer.write(frames)

    async def read(self, kind: int) -> Frame:
        """The next frame of a kind."""
        while True:
            head = await asyncio.wait_for(self.reader.readexactly(9), PATIENCE_S)
            high, low, got, flags, stream_id = h2.HEADER.unpack(head)
            payload = await self.reader.readexactly(high << 16 | low)
            self.frames.append(Frame(got, flags, stream_id, payload))
            if got == kind:
                return self.frames[-1]

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; whole frames may come before it."""
        self.frames += parse(await asyncio.wait_for(self.reader.read(), PATIENCE_S))
        return self.reader.at_eof()


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("unix:/run/x", ("/run/x", "", 0)), ("unix:///run/x", ("/run/x", "", 0)), ("unix:x", ("x", "", 0)),
        ("127.0.0.1:9002", ("", "127.0.0.1", 9002)), ("[::]:9002", ("", "::", 9002)), (":9002", ("", "", 9002)),
    ],
)  # fmt: skip
def test_addresses(address: str, parsed: tuple[str, str, int]) -> None:
    assert parse_address(address) == parsed


@pytest.mark.parametrize("address", ["", "unix:", "localhost", "localhost:", "localhost:http", "localhost:70000"])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(ValueError, match="neither unix:/path nor host:port"):
        parse_address(address)


async def test_several_addresses_and_a_socket_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "picker.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = FastServer(Service().services)
    await server.start(f"unix:{path}")
    await server.start("127.0.0.1:0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for address in (server.address, f"127.0.0.1:{server.port}"):
        async with grpc.aio.insecure_channel(address) as channel:
            assert await channel.unary_unary(ONCE)(b"x") == b"x"
    second = FastServer(Service().services)
    with pytest.raises(OSError, match="another server listens there"):
        await second.start(f"unix:{path}")
    with pytest.raises(OSError, match="in use"):
        await second.start(f"127.0.0.1:{server.port}")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="is no socket"):
        await second.start(f"unix:{tmp_path}/file")
    await server.stop(0.1)
    assert not path.exists()
    await second.stop(0)


async def test_a_drain_lets_calls_finish_and_says_goaway_twice() -> None:
    service = Service()
    server = FastServer(service.services)
    await server.start("127.0.0.1:0")
    client = await Client.connect(server)
    client.send(client.wire.request(1, ECHO) + data(1, message(b"a")))
    await client.read(h2.DATA)
    stopping = asyncio.create_task(server.stop(20))
    first = await client.read(h2.GOAWAY)
    assert (int.from_bytes(first.payload[:4], "big"), first.code) == (2**31 - 1, h2.NO_ERROR)
    ping = await client.read(h2.PING)
    # A call that was under way before the client knew is served.
    client.send(client.wire.request(3, ECHO) + data(3, message(b"b")))
    client.send(h2.ping(ping.payload, ack=True))
    second = await client.read(h2.GOAWAY)
    assert int.from_bytes(second.payload[:4], "big") == 3
    # One after that is not, and its bytes hurt nobody.
    client.send(client.wire.request(5, ECHO) + data(5, message(b"c"), end=True) + data(1, message(b"d")))
    assert (await client.read(h2.DATA)).payload == message(b"d")
    client.send(data(1, end=True) + data(3, end=True))
    assert await client.is_closed()
    await asyncio.wait_for(stopping, PATIENCE_S)
    assert [call.ends for call in service.calls] == [["half_closed"], ["half_closed"]]
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_a_drain_is_bounded() -> None:
    service = Service()
    server = FastServer(service.services)
    await server.start("127.0.0.1:0")
    client = await Client.connect(server)
    client.send(client.wire.request(1, LISTEN))
    idle = await Client.connect(server)
    await until(lambda: service.calls and server.connections == 2)
    await asyncio.wait_for(server.stop(0.2), PATIENCE_S)
    trailers = await client.read(h2.HEADERS)
    assert client.wire.fields(trailers)["grpc-status"] == "14"
    assert await client.is_closed()
    assert service.calls[0].ends == ["closed"]
    await idle.read(h2.GOAWAY)
    assert await idle.is_closed()


async def test_a_drain_does_not_wait_for_peers_that_do_not_read() -> None:
    server = FastServer(Service().services)
    await server.start("127.0.0.1:0")
    client = await Client.connect(server)
    client.writer.transport.pause_reading()
    client.send(h2.settings({h2.INITIAL_WINDOW_SIZE: 2**30}) + h2.window_update(0, 2**30))
    client.send(client.wire.request(1, FLOOD) + data(1, message(b"60000000")))
    await until(lambda: server.held.held)
    await asyncio.wait_for(server.stop(0.1), PATIENCE_S)
    assert server.connections == 0
    assert server.held.held == 0
    client.writer.close()


async def test_grpcio_goes_on_at_a_restarted_server(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    async with grpc.aio.insecure_channel(address, options=[("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
        for _ in range(3):
            server = FastServer(Service().services)
            await server.start(address)
            assert await channel.unary_unary(ONCE)(b"x", wait_for_ready=True, timeout=30) == b"x"
            await server.stop(5)


def test_on_uvloop() -> None:
    async def run() -> None:
        server = FastServer(Service().services, tls=ServerTls.self_signed())
        await server.start("127.0.0.1:0")
        assert server._tls is not None
        credentials = grpc.ssl_channel_credentials(server._tls.certificate)
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.secure_channel(server.address, credentials, options=options) as channel:
            assert sum([len(m) async for m in channel.unary_stream(FLOOD)(b"30000000")]) == 30_000_000
        await server.stop(0.1)

    uvloop.run(run())


def certificate_of(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain) as secured,
    ):
        assert secured.selected_alpn_protocol() == "h2"
        der = secured.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der).encode()


async def test_certificate_files_are_read_again(tmp_path: Path) -> None:
    def write(seconds: float) -> bytes:
        certificate, key = self_signed_certificate(("localhost",), seconds)
        (tmp_path / "tls.crt").write_bytes(certificate)
        (tmp_path / "tls.key").write_bytes(key)
        return certificate

    old = write(1.7e9)
    tls = ServerTls.from_files(tmp_path / "tls.crt", tmp_path / "tls.key")
    server = FastServer(Service().services, tls=tls)
    await server.start("127.0.0.1:0")
    assert await asyncio.to_thread(certificate_of, server.port) == old
    assert not tls.reload()
    new = write(1.7e9)
    assert tls.reload()
    assert await asyncio.to_thread(certificate_of, server.port) == new
    # Half of a new pair is not taken: the server goes on with what it has.
    (tmp_path / "tls.crt").write_bytes(old)
    with pytest.raises(ssl.SSLError):
        tls.reload()
    assert await asyncio.to_thread(certificate_of, server.port) == new
    os.unlink(tmp_path / "tls.key")
    with pytest.raises(FileNotFoundError):
        tls.reload()
    await server.stop(0.1)


async def test_client_certificates(tmp_path: Path) -> None:
    for name in ("server", "client"):
        certificate, key = self_signed_certificate(("localhost", "127.0.0.1"), 1.7e9)
        (tmp_path / f"{name}.crt").write_bytes(certificate)
        (tmp_path / f"{name}.key").write_bytes(key)
    tls = ServerTls.from_files(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "client.crt")
    server = FastServer(Service().services, tls=tls, limits=Limits(handshake_s=5))
    await server.start("127.0.0.1:0")
    known = grpc.ssl_channel_credentials(
        tls.certificate, (tmp_path / "client.key").read_bytes(), (tmp_path / "client.crt").read_bytes()
    )
    async with grpc.aio.secure_channel(server.address, known) as channel:
        assert await channel.unary_unary(ONCE)(b"x") == b"x"
    async with grpc.aio.secure_channel(server.address, grpc.ssl_channel_credentials(tls.certificate)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(ONCE)(b"x", timeout=10)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    await server.stop(0.1)
