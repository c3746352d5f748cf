"""The picker's gRPC server: external processor, access-log sink and health, on a unix socket or a loopback address."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
from envoy.service.accesslog.v3 import als_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.completions import Completions
from fairlead.gateway.director import Director, Route
from fairlead.gateway.errors import Reply
from fairlead.gateway.extproc import Session
from fairlead.gateway.metrics import GatewayMetrics

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
ACCESS_LOG_SERVICE = "envoy.service.accesslog.v3.AccessLogService"

_HEALTH_NAMES = ("", "liveness", "readiness", "inference-extension", EXT_PROC_SERVICE)

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 100_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 100),
    ("grpc.http2.max_ping_strikes", 0),
)


class PickerServer:
    """Serves Envoy until stopped."""

    def __init__(
        self, director: Director, completions: Completions, metrics: GatewayMetrics, clock: Clock = SYSTEM
    ) -> None:
        self._director = director
        self._completions = completions
        self._metrics = metrics
        self._clock = clock
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen on `unix:/path` or `127.0.0.1:port`. Raises RuntimeError when the address cannot be bound."""
        server = grpc.aio.server(options=_OPTIONS)
        process = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=pb.ProcessingRequest.FromString,
            response_serializer=pb.ProcessingResponse.SerializeToString,
        )
        log = grpc.stream_unary_rpc_method_handler(
            self._log,
            request_deserializer=als_pb2.StreamAccessLogsMessage.FromString,
            response_serializer=als_pb2.StreamAccessLogsResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(EXT_PROC_SERVICE, {"Process": process}),
                grpc.method_handlers_generic_handler(ACCESS_LOG_SERVICE, {"StreamAccessLogs": log}),
            )
        )
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        for name in _HEALTH_NAMES:
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        server.add_insecure_port(address)
        await server.start()
        self._server = server

    async def stop(self, grace_s: float = 0.3) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _process(self, messages: AsyncIterator[pb.ProcessingRequest], context: grpc.aio.ServicerContext) -> None:
        session = Session(self._director)
        counted: Route | Reply | None = None
        while not session.done:
            message = await context.read()
            if message is grpc.aio.EOF:
                return
            began_s = self._clock.monotonic_s()
            answers = session.feed(message)
            # Envoy may end the stream before the body is over, when the engine has answered early.
            if session.outcome is not None and session.outcome is not counted:
                counted = session.outcome
                self._metrics.decided(counted, self._clock.monotonic_s() - began_s)
            for answer in answers:
                await context.write(answer)

    async def _log(
        self, messages: AsyncIterator[als_pb2.StreamAccessLogsMessage], _: grpc.aio.ServicerContext
    ) -> als_pb2.StreamAccessLogsResponse:
        async for message in messages:
            self._completions.take(message.http_logs.log_entry)
        return als_pb2.StreamAccessLogsResponse()
