"""The same services on grpcio's asyncio server: what the own server is compared with, and the choice where it fails.

Messages stay raw bytes on both sides, so that a service cannot tell the two servers apart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc

from fairlead.gateway.transport.call import Call, Metadata, Services
from fairlead.gateway.transport.limits import Limits
from fairlead.gateway.transport.server import parse_address
from fairlead.gateway.transport.status import INTERNAL
from fairlead.gateway.transport.tls import ServerTls

log = logging.getLogger(__name__)

_CANCELLATION_S = 0.002
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class _Outcome:
    """How the service ended the call: with OK or with another status."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message


class _ReferenceStream:
    """The `Stream` of one call: what the service sends waits here for grpcio's coroutine."""

    def __init__(self) -> None:
        self.outgoing: asyncio.Queue[bytes | _Outcome] = asyncio.Queue()
        self.ended = False

    def send(self, messages: Sequence[bytes], *, end: bool = False) -> None:
        if self.ended:
            return
        for message in messages:
            self.outgoing.put_nowait(message)
        if end:
            self._end(_Outcome(0, ""))

    def fail(self, code: int, message: str) -> None:
        if not self.ended:
            self._end(_Outcome(code, message))

    def _end(self, outcome: _Outcome) -> None:
        self.ended = True
        self.outgoing.put_nowait(outcome)


class ReferenceServer:
    """Serves gRPC calls on grpcio until stopped. The same methods as `FastServer`."""

    def __init__(self, services: Services, *, tls: ServerTls | None = None, limits: Limits | None = None) -> None:
        self.services = services
        self._tls = tls
        self._limits = limits or Limits()
        self._server: grpc.aio.Server | None = None
        self._addresses: list[str] = []

    @property
    def address(self) -> str:
        """Where it listens: `unix:/path` or `host:port` with the real port."""
        return self._addresses[0]

    @property
    def port(self) -> int:
        """The TCP port. Raises ValueError when it listens on a unix socket."""
        path, _, port = parse_address(self.address)
        if path:
            raise ValueError("the server listens on a unix socket, which has no port")
        return port

    async def start(self, address: str) -> None:
        """Listen on `unix:/path` or `host:port`. Raises ValueError for another form and OSError when the address cannot
        be bound."""
        path, host, _ = parse_address(address)
        if self._server is not None:
            raise ValueError("a reference server has one address; make another one for the next")
        server = grpc.aio.server(options=self._options())
        server.add_generic_rpc_handlers((_Handlers(self.services),))
        self._add_to(server)
        try:
            if self._tls is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        await server.start()
        self._server = server
        self._addresses.append(f"unix:{path}" if path else f"{host}:{port}")

    async def stop(self, grace_s: float = 5.0) -> None:
        """Accept nothing new and let calls that run finish for up to `grace_s`."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def _add_to(self, server: grpc.aio.Server) -> None:
        """For servers that serve more than `services`."""

    def _options(self) -> tuple[tuple[str, int], ...]:
        limits = self._limits
        return (
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", limits.max_concurrent_streams),
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 100),
            ("grpc.http2.max_ping_strikes", 0),
        )


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, services: Services) -> None:
        self._services = services

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        make = self._services.get(details.method)
        if make is None:
            return None
        metadata: Metadata = {name: _text(value) for name, value in details.invocation_metadata}

        async def serve(_: object, context: grpc.aio.ServicerContext) -> None:
            stream = _ReferenceStream()
            await _serve(make(stream, metadata), stream, context)

        return grpc.stream_stream_rpc_method_handler(serve)


async def _serve(call: Call, stream: _ReferenceStream, context: grpc.aio.ServicerContext) -> None:
    """Run both directions of a call until the service has ended it, or grpcio cancels."""
    reader = asyncio.create_task(_read(call, stream, context))
    try:
        while True:
            item = await stream.outgoing.get()
            if isinstance(item, _Outcome):
                break
            await context.write(item)
    except BaseException:
        if not stream.ended:
            stream.ended = True
            call.closed()
        raise
    finally:
        reader.cancel()
    if item.code:
        await context.abort(_STATUS.get(item.code, grpc.StatusCode.UNKNOWN), item.message)


async def _read(call: Call, stream: _ReferenceStream, context: grpc.aio.ServicerContext) -> None:
    try:
        while not stream.ended:
            message = await context.read()
            if message is grpc.aio.EOF:
                # grpcio reads the end of a cancelled call in the same way, and cancels the coroutine after it.
                await asyncio.sleep(_CANCELLATION_S)
                if not stream.ended:
                    call.half_closed()
                return
            call.message(message)
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("a service failed on a message; its call ends with INTERNAL")
        if not stream.ended:
            stream.fail(INTERNAL, "the service failed")
            call.closed()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _credentials(tls: ServerTls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)], tls.client_ca, require_client_auth=tls.client_ca is not None
    )
