"""Health beside other services and on a port of its own."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fairlead.gateway.transport import FastServer, Health, HealthServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_port_of_its_own_follows_the_same_statuses() -> None:
    health = Health(serving=False)
    server = HealthServer(health)
    await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest(service="readiness"))).status == NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest(service="liveness"))).status == SERVING
        health.set(True)
        assert (await stub.Check(health_pb2.HealthCheckRequest(service="readiness"))).status == SERVING
    await server.stop(0.1)


async def test_watching_a_status() -> None:
    health = Health()
    server = FastServer(health.services())
    await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watch.read()).status == SERVING
        health.set(True)
        health.set(False, "readiness")
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        unknown = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="nobody"))
        assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    await server.stop(0.1)
    health.set(True)


def test_an_unknown_name_cannot_be_set() -> None:
    with pytest.raises(KeyError):
        Health().set(True, "nobody")


async def test_reflection_on_the_port_of_its_own() -> None:
    pb = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")
    server = HealthServer(Health())
    await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(server.address) as channel:
        ask = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )
        answers = ask(iter([
            pb.ServerReflectionRequest(list_services=""),
            pb.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
        ]))  # fmt: skip
        listed = await answers.read()
        assert "grpc.health.v1.Health" in [service.name for service in listed.list_services_response.service]
        assert (await answers.read()).file_descriptor_response.file_descriptor_proto
    await server.stop(0.1)
