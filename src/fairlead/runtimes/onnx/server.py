"""The process: REST and gRPC around one service, from loading the models to draining on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from fairlead.clock import SYSTEM, Clock
from fairlead.runtimes.onnx.grpc_service import GrpcApi
from fairlead.runtimes.onnx.inference import InferenceService
from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from fairlead.runtimes.onnx.repository import Repository
from fairlead.runtimes.onnx.rest import RestApi
from fairlead.runtimes.onnx.settings import ModelSettings

_LISTEN_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Ports of 0 are chosen by the system; `grpc_port` None serves REST only. `names`: see `Repository`."""

    root: Path
    names: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = 8001
    lazy: bool = False
    max_body_bytes: int = 64 * 1024 * 1024
    read_timeout_s: float = 60.0
    drain_timeout_s: float = 25.0
    defaults: ModelSettings = field(default_factory=ModelSettings)


async def run(
    options: ServerOptions, on_ready: Callable[[int, int | None], None] | None = None, clock: Clock = SYSTEM
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `on_ready` gets the ports once the models are loaded.

    Raises OSError when an address cannot be bound, LayoutError or LoadError when the models cannot be served.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    metrics = RuntimeMetrics()
    repository = Repository(options.root, options.names, options.defaults, metrics, clock, lazy=options.lazy)
    service = InferenceService(repository, metrics, clock)
    rest = RestApi(service, max_body_bytes=options.max_body_bytes, read_timeout_s=options.read_timeout_s)
    grpc = GrpcApi(service, max_message_bytes=options.max_body_bytes)
    runner = web.AppRunner(rest.application(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=_LISTEN_BACKLOG, reuse_address=True).start()
        grpc_port = None
        if options.grpc_port is not None:
            grpc_port = await grpc.start(f"{options.host}:{options.grpc_port}")
        if await _opened(service, stopping):
            await grpc.serving(True)
            if on_ready is not None:
                on_ready(int(runner.addresses[0][1]), grpc_port)
            await stopping.wait()
            await grpc.serving(False)
            await service.drain(options.drain_timeout_s)
    finally:
        await grpc.stop()
        await runner.cleanup()
        await repository.close()


async def _opened(service: InferenceService, stopping: asyncio.Event) -> bool:
    """Whether the models were loaded before somebody stopped the server. Raises LayoutError, LoadError."""
    opening = asyncio.ensure_future(service.open())
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((opening, stop), return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
        return opening.done()
    finally:
        opening.cancel()
        stop.cancel()
