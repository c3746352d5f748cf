"""The picker as a process: endpoints from the Kubernetes API, loads from scrapes and Envoy's log, gRPC for Envoy."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.access_log import keep_small
from fairlead.gateway.director import Director
from fairlead.gateway.endpoints import EndpointSource, Registry
from fairlead.gateway.envoy import access_log, admin_socket, picker_socket
from fairlead.gateway.load import LoadTable
from fairlead.gateway.metrics import GatewayMetrics
from fairlead.gateway.scrape import Scraper
from fairlead.gateway.server import PickerServer

SYNC_TIMEOUT_S = 30.0
"""How long a start waits for the API before it serves with what it has; Envoy answers 503 meanwhile."""

EXPIRE_INTERVAL_S = 60.0

_log = logging.getLogger(__name__)


async def serve(source: EndpointSource, data: Path, *, metrics_port: int | None = None, clock: Clock = SYSTEM) -> None:
    """Serve the picker on the socket of a data folder until SIGTERM or SIGINT.

    `metrics_port` opens Prometheus metrics on 127.0.0.1; 0 takes any free port. Raises what `source` raises.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    registry, loads = Registry(), LoadTable()
    metrics = GatewayMetrics(registry, loads)
    director = Director(registry, loads, clock, observe=metrics.decided, observe_end=metrics.ended)
    server = PickerServer(director, clock=clock)
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(source.run(registry)),
            tasks.create_task(
                Scraper(registry, loads, lambda outcome: metrics.scrapes.labels(outcome).inc(), clock).run()
            ),
            tasks.create_task(_expire(loads, clock)),
            tasks.create_task(keep_small(access_log(data), admin_socket(data), clock=clock)),
        ]
        if metrics_port is not None:
            background.append(tasks.create_task(_serve_metrics(metrics, metrics_port, clock)))
        await _first(registry.wait_synced(), _until(stopping), timeout_s=SYNC_TIMEOUT_S)
        if not registry.synced and not stopping.is_set():
            _log.warning("endpoints are not known after %.0f s; serving without them", SYNC_TIMEOUT_S)
        address = picker_socket(data)
        await server.start(f"unix:{address}")
        _log.info("picker serves on %s", address)
        await stopping.wait()
        await server.stop()
        for task in background:
            task.cancel()


async def run(
    kubeconfig: str | None, data: Path, *, namespace: str | None = None, metrics_port: int | None = None
) -> None:
    """Serve the picker of `fairlead up` or of a standalone gateway, for all namespaces or one.

    `kubeconfig` None means $KUBECONFIG, ~/.kube/config, or the pod's service account. Raises CredentialsError when
    none of them names an API server.
    """
    from fairlead.gateway.sources.kube import KubeSource
    from fairlead.kube.client import Client

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    source = KubeSource(Client.load(kubeconfig), namespace)
    await serve(source, data, metrics_port=metrics_port)


async def _first(*waits: Coroutine[Any, Any, Any], timeout_s: float) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _expire(loads: LoadTable, clock: Clock) -> None:
    while True:
        await clock.sleep(EXPIRE_INTERVAL_S)
        if lost := loads.expire(clock.monotonic_s()):
            _log.warning("stopped counting %d requests whose end was never reported", lost)


async def _serve_metrics(metrics: GatewayMetrics, port: int, clock: Clock) -> None:
    from aiohttp import web

    async def page(_: web.Request) -> web.Response:
        body = metrics.page(clock.monotonic_s())
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
