"""Calls on grpcio's asyncio server, until the transports' own adapter is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc

from fairlead.gateway.transport.call import Call, Metadata, Services, Stream

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 100_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 100),
    ("grpc.http2.max_ping_strikes", 0),
)

_Item = tuple[Sequence[bytes], bool, tuple[int, str] | None]


class _Stream:
    def __init__(self) -> None:
        self.items: asyncio.Queue[_Item] = asyncio.Queue()

    def send(self, messages: Sequence[bytes], *, end: bool = False) -> None:
        self.items.put_nowait((messages, end, None))

    def fail(self, code: int, message: str) -> None:
        self.items.put_nowait(((), True, (code, message)))


class GrpcioServer:
    """Serves until stopped."""

    def __init__(self, services: Services) -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Handler(services),))

    async def start(self, address: str) -> str:
        """Listen on `unix:/path` or `host:port`; returns the address. Raises RuntimeError when it cannot be bound."""
        port = self._server.add_insecure_port(address)
        await self._server.start()
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, services: Services) -> None:
        self._services = services

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        make = self._services.get(details.method)
        if make is None:
            return None
        metadata = {str(k): v if isinstance(v, str) else v.decode("latin-1") for k, v in details.invocation_metadata}

        async def behaviour(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await _serve(make, metadata, context)

        return grpc.stream_stream_rpc_method_handler(behaviour)


async def _serve(
    make: Callable[[Stream, Metadata], Call], metadata: Metadata, context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    stream = _Stream()
    call = make(stream, metadata)
    reading = asyncio.create_task(_read(call, context))
    ended = False
    try:
        while not ended:
            messages, ended, status = await stream.items.get()
            for message in messages:
                await context.write(message)
            if status is not None:
                await context.abort(_STATUS[status[0]], status[1])
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        if not ended:
            call.closed()


async def _read(call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    while (data := await context.read()) is not grpc.aio.EOF:
        call.message(data)
    call.half_closed()


_STATUS = {code.value[0]: code for code in grpc.StatusCode}
