"""The gRPC probe against a real health service."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fairlead.embedded.agent.handlers import grpc_health
from fairlead.embedded.agent.pod import Grpc


@pytest.fixture
def port() -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("down", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    number = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield number
    server.stop(None)


async def test_serving_and_not_serving(port: int):
    assert (await grpc_health(Grpc(port=port), "127.0.0.1", 2)).ok
    down = await grpc_health(Grpc(port=port, service="down"), "127.0.0.1", 2)
    assert (down.ok, down.output) == (False, 'service unhealthy (responded with "NOT_SERVING")')


async def test_nobody_there():
    assert not (await grpc_health(Grpc(port=9), "127.0.0.1", 1)).ok
