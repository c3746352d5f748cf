"""grpcio as the client, of the own server and of the reference: a service cannot tell the two apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fairlead.gateway.transport import FastServer, Health, Limits, ReferenceServer, ServerTls
from gateway.transport.wire import BROKEN, ECHO, FLOOD, LISTEN, ONCE, Service, until

_NO_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Server = FastServer | ReferenceServer


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=[FastServer, ReferenceServer], ids=["own", "grpcio"])
async def server(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[Server]:
    made: Server = request.param({**service.services, **Health().services()}, limits=Limits(max_message_bytes=8 << 20))
    await made.start("127.0.0.1:0")
    yield made
    await made.stop(0.1)


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address, options=_NO_LIMITS) as channel:
        yield channel


async def test_messages_of_all_sizes_come_back_in_order(channel: grpc.aio.Channel) -> None:
    sizes = [0, 1, 5, 16_383, 16_384, 65_536, 0, 3_000_000, 7]
    sent = [bytes([n]) * size for n, size in enumerate(sizes)]

    async def messages() -> AsyncIterator[bytes]:
        for message in sent:
            yield message

    assert [message async for message in channel.stream_stream(ECHO)(messages())] == sent


async def test_a_dialogue(channel: grpc.aio.Channel, service: Service) -> None:
    call = channel.stream_stream(ECHO)(metadata=(("x-who", "me"), ("x-who", "too")))
    for text in (b"one", b"two"):
        await call.write(text)
        assert await call.read() == text
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK
    assert service.calls[0].ends == ["half_closed"]


async def test_the_metadata_of_a_call(channel: grpc.aio.Channel, service: Service) -> None:
    await channel.unary_unary(ONCE)(b"x", metadata=(("x-who", "me"), ("x-path", "/a b")))
    assert service.calls[0].metadata["x-who"] == "me"
    assert service.calls[0].metadata["x-path"] == "/a b"


async def test_the_server_may_end_first(channel: grpc.aio.Channel, service: Service) -> None:
    call = channel.stream_stream(ONCE)()
    await call.write(b"pick")
    assert await call.read() == b"pick"
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK
    await asyncio.sleep(0.05)
    assert "closed" not in service.calls[0].ends


async def test_many_streams_at_once(channel: grpc.aio.Channel, service: Service) -> None:
    async def one(number: int) -> None:
        call = channel.stream_stream(ECHO)()
        for turn in range(3):
            message = b"%d %d" % (number, turn)
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.OK

    await asyncio.gather(*(one(number) for number in range(300)))
    assert len(service.calls) == 300
    assert all(call.ends == ["half_closed"] for call in service.calls)


async def test_a_large_answer(channel: grpc.aio.Channel) -> None:
    answer = channel.unary_stream(FLOOD)(b"20000000")
    assert sum([len(message) async for message in answer]) == 20_000_000


async def test_the_client_cancels(channel: grpc.aio.Channel, service: Service) -> None:
    call = channel.stream_stream(LISTEN)()
    await call.write(b"x")
    await until(lambda: service.calls and service.calls[0].messages)
    call.cancel()
    await until(lambda: service.calls[0].ends)
    await asyncio.sleep(0.05)
    assert service.calls[0].ends == ["closed"]
    # What the service says now goes nowhere and hurts nobody.
    service.calls[0].stream.send([b"late"], end=True)
    service.calls[0].stream.fail(13, "late")
    assert await channel.unary_unary(ONCE)(b"next") == b"next"


async def test_the_clients_connection_breaks(server: Server, service: Service) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(LISTEN)()
        await call.write(b"x")
        await until(lambda: service.calls and service.calls[0].messages)
    await until(lambda: service.calls[0].ends)
    assert service.calls[0].ends == ["closed"]


async def test_the_deadline_passes(channel: grpc.aio.Channel, service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(LISTEN)(b"x", timeout=0.2)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: "closed" in service.calls[0].ends)
    assert service.calls[0].ends.count("closed") == 1


async def test_a_service_fails_a_call(channel: grpc.aio.Channel, service: Service) -> None:
    call = channel.stream_stream(LISTEN)()
    await call.write(b"x")
    await until(lambda: service.calls and service.calls[0].messages)
    service.calls[0].stream.fail(9, "not 100 % now: größer\n")
    assert await call.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert await call.details() == "not 100 % now: größer\n"
    await asyncio.sleep(0.05)
    assert "closed" not in service.calls[0].ends


async def test_a_service_breaks(channel: grpc.aio.Channel, service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(BROKEN)(b"x")
    assert raised.value.code() == grpc.StatusCode.INTERNAL
    assert service.calls[0].ends.count("closed") == 1
    assert await channel.unary_unary(ONCE)(b"next") == b"next"


async def test_an_unknown_method(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary("/test.Test/Nothing")(b"x")
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_too_large(channel: grpc.aio.Channel, service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(LISTEN)(b"\0" * (8 << 20) + b"\0")
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: "closed" in service.calls[0].ends)
    assert await channel.unary_unary(ONCE)(b"next") == b"next"


async def test_health(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "liveness", "readiness", "inference-extension", "envoy.service.ext_proc.v3.ExternalProcessor"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff\xff")
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", [FastServer, ReferenceServer], ids=["own", "grpcio"])
async def test_on_a_unix_socket(kind: type[Server], service: Service, tmp_path: Path) -> None:
    server = kind(service.services)
    await server.start(f"unix:{tmp_path}/s")
    assert server.address == f"unix:{tmp_path}/s"
    with pytest.raises(ValueError, match="unix socket"):
        _ = server.port
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.unary_unary(ONCE)(b"x") == b"x"
    await server.stop(0.1)


@pytest.mark.parametrize("kind", [FastServer, ReferenceServer], ids=["own", "grpcio"])
async def test_with_tls(kind: type[Server], service: Service) -> None:
    tls = ServerTls.self_signed()
    server = kind(service.services, tls=tls)
    await server.start("127.0.0.1:0")
    credentials = grpc.ssl_channel_credentials(tls.certificate)
    async with grpc.aio.secure_channel(server.address, credentials, options=_NO_LIMITS) as channel:
        assert await channel.unary_unary(ONCE)(b"x") == b"x"
        assert sum([len(m) async for m in channel.unary_stream(FLOOD)(b"5000000")]) == 5_000_000
        call = channel.stream_stream(ECHO)()
        await call.write(b"y" * 3_000_000)
        assert await call.read() == b"y" * 3_000_000
        call.cancel()
    await server.stop(0.1)
