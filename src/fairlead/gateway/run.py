"""The picker as a process: endpoints from a source, loads from scrapes and Envoy's log, gRPC for gateways."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.access_log import keep_small
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import EndpointSource
from fairlead.gateway.envoy import access_log, admin_socket, picker_socket, replica_name
from fairlead.gateway.exact_prefixes import ExactPrefixes
from fairlead.gateway.extproc import FOREIGN
from fairlead.gateway.observe.admin import serve_admin, serve_metrics
from fairlead.gateway.observe.metrics_access import KubernetesAccess
from fairlead.gateway.observe.reports import Reporter
from fairlead.gateway.observe.tracing import NoTraces, Traces, traces_from_environment
from fairlead.gateway.peers import Discovery, FolderPeers, ServicePeers, StaticPeers, socket_in
from fairlead.gateway.plan import read_settings
from fairlead.gateway.prefix.persist import PrefixFile
from fairlead.gateway.server import PickerServer
from fairlead.gateway.transport import Health, ServerTls

if TYPE_CHECKING:
    from fairlead.gateway.flow.scale_from_zero import FirstReplica
    from fairlead.gateway.sources.ask_adapters import AskForAdapters
    from fairlead.kube.client import Client

SYNC_TIMEOUT_S = 30.0
"""How long a start waits for the API before it serves with what it has; Envoy answers 503 meanwhile."""

EXPIRE_INTERVAL_S = 60.0
TRACES_CLOSE_S = 2.0
GC_THRESHOLDS = (20_000, 20, 50)
"""Containers made since, then collections of the younger generation, after which a generation is looked through."""
_LOOK_S = 0.05

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What a picker is started with."""

    data: Path
    """Folder that it shares with Envoy: sockets, the access log, what it remembers over a restart."""
    metrics_port: int | None = None
    """Prometheus metrics there; 0 = any free port, None = none."""
    metrics_host: str = "127.0.0.1"
    metrics_authorized: bool = False
    """Only those whom the Kubernetes API lets GET /metrics may read them."""
    traces: bool = True
    """As the environment says; False = none."""
    config: Path | None = None
    """EndpointPickerConfig of pools that name none."""
    transport: str = "fast"
    """`fast` is the picker's own gRPC server, `grpcio` the reference."""
    grpc_address: str = ""
    """host:port for foreign gateways; empty = only Fairlead's Envoy on the socket."""
    health_address: str = ""
    """host:port of the health service beside it."""
    observes: bool = True
    """Whether sessions of foreign gateways go on through the answer, to learn of its end."""
    tls: ServerTls | None = None
    """Of the address for foreign gateways."""
    fallbacks: int = 0
    """Endpoints to name to them after the first."""
    scores: bool = False
    """Tell them how each candidate scored."""
    conformance: bool = False
    """Obey the test headers of the conformance tests. Never in production: clients choose their endpoint."""
    one_pool: bool = False
    """The source has one pool, which gets all that comes, whatever its path or model."""
    log_level: int = logging.INFO
    drain_s: float = 0.0
    """How long it goes on serving after it was told to stop, while its health already says that it does not; told
    again, it stops at once."""
    peers_folder: Path | None = None
    """Folder in which the pickers of one machine find each other; None = there are no others there."""
    peers_address: str = ""
    """host:port where this picker listens for others on other machines."""
    peers: tuple[str, ...] = ()
    """host:port of those."""
    peers_service: str = ""
    """namespace/name of the headless Service whose pods they are, in place of `peers`."""


def picker_admin_socket(data: Path) -> Path:
    """Where the picker of a data folder serves its pages for people."""
    return picker_socket(data).with_name("picker-admin.sock")


async def serve(
    source: EndpointSource,
    options: Options,
    *,
    client: Client | None = None,
    clock: Clock = SYSTEM,
) -> None:
    """Serve the picker until SIGTERM or SIGINT. With `client`, first replicas are asked for of its Kubernetes API.

    Raises ConfigError for `options.config`, and an ExceptionGroup of what `source` or another part has failed with,
    such as an OSError for an address that cannot be bound.
    """
    stopping, hurrying = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (hurrying if stopping.is_set() else stopping).set())
    default = read_settings(options.config.read_text()) if options.config is not None else None
    traces = traces_from_environment() if options.traces else NoTraces()
    # Envoy may still report the ends of requests that an earlier process picked: each process has ids of its own.
    replica = f"{replica_name(options.data)}-{secrets.token_hex(3)}"
    parts = Assembly(default=default, traces=traces, replica=replica, clock=clock)
    first = _first_replicas(parts, client) if client is not None else None
    adapters = _adapters(parts, client) if client is not None else None
    memory = PrefixFile(parts.tree, options.data / "prefixes.bin", clock=clock)
    if count := memory.load():
        _log.info("remembers %d prompts from before the restart", count)
    health = Health(serving=False)
    server = PickerServer(parts.director, health=health, clock=clock, reference=options.transport == "grpcio")
    parts.director.pools.one_pool, parts.director.tells_scores = options.one_pool, options.scores
    exact = parts.director.exact = ExactPrefixes(parts.plans, parts.prefixes)
    peers = _peers_of(options, parts, client)
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(source.run(parts.registry)),
            tasks.create_task(parts.scraper.run()),
            tasks.create_task(_tidy(parts)),
            tasks.create_task(memory.keep()),
            tasks.create_task(keep_small(access_log(options.data), admin_socket(options.data), clock=clock)),
            tasks.create_task(serve_admin(parts, picker_admin_socket(options.data))),
        ]
        if client is not None:
            reporter = Reporter(client, parts.registry, parts.traffic, parts.loads.replica, clock)
            background.append(tasks.create_task(reporter.run()))
        if peers is not None:
            await parts.peers.start(peers.place)
            background.append(tasks.create_task(parts.peers.run(peers.discovery)))
        if options.metrics_port is not None:
            access = KubernetesAccess(client, clock) if options.metrics_authorized and client is not None else None
            page_is_there = asyncio.Event()
            page = serve_metrics(parts, options.metrics_port, options.metrics_host, access, page_is_there.set)
            background.append(tasks.create_task(page))
            # Who is asked answers for itself: nothing is served before there are metrics of it.
            await page_is_there.wait()
        try:
            await _first(parts.registry.wait_synced(), _until(stopping), timeout_s=SYNC_TIMEOUT_S)
            if not parts.registry.synced and not stopping.is_set():
                _log.warning("endpoints are not known after %.0f s; serving without them", SYNC_TIMEOUT_S)
            await _listen(server, options)
            health.set(True)
            _collect_seldom()
            await stopping.wait()
            health.set(False)
            await _first(clock.sleep(options.drain_s), _until(hurrying), timeout_s=options.drain_s)
        finally:
            # Also when a part has failed: those who wait get an answer, and what was learned is there at the restart.
            parts.gates.close()
            await server.stop()
            parts.recovery.close()
            await parts.splitter.close()
            await exact.close()
            if first is not None:
                await first.close()
            if adapters is not None:
                await adapters.close()
            await memory.save()
            for task in background:
                task.cancel()
    await _close_traces(traces, clock)


def _collect_seldom() -> None:
    """Leave what was imported and built at the start out of garbage collection, and look at the rest less often.

    Requests leave next to no cycles; walking through all modules for them every few seconds stops decisions for tens of
    milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _close_traces(traces: Traces, clock: Clock) -> None:
    """Send the last spans, as far as there is somebody who takes them; an unreachable collector holds up nothing."""
    closing = threading.Thread(target=traces.close, daemon=True)
    closing.start()
    for _ in range(int(TRACES_CLOSE_S / _LOOK_S)):
        if not closing.is_alive():
            return
        await clock.sleep(_LOOK_S)
    _log.warning("the last traces were not sent within %.0f s", TRACES_CLOSE_S)


async def run(
    kubeconfig: str | None, options: Options, *, namespace: str | None = None, pool: str | None = None
) -> None:
    """Serve the picker of `fairlead up` or of a standalone gateway, for all namespaces or one, or one pool alone.

    `kubeconfig` None means $KUBECONFIG, ~/.kube/config, or the pod's service account. Raises CredentialsError when
    none of them names an API server.
    """
    from fairlead.gateway.sources.kube import KubeSource
    from fairlead.kube.client import Client

    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    client: Client = Client.load(kubeconfig)
    await serve(KubeSource(client, namespace, pool), options, client=client)


def _first_replicas(parts: Assembly, client: Client) -> FirstReplica:
    from fairlead.gateway.flow.scale_from_zero import FirstReplica, PoolWaker
    from fairlead.kube.events import EventRecorder

    events = EventRecorder(client, "fairlead-gateway")
    first = FirstReplica(client, parts.gates.poke, events=events, clock=parts.clock)
    parts.make_waker = lambda pool, target: PoolWaker(first, pool, target)
    return first


def _adapters(parts: Assembly, client: Client) -> AskForAdapters:
    from fairlead.gateway.sources.ask_adapters import AskForAdapters

    asking = AskForAdapters(client, parts.clock)
    parts.director.adapters.wanted = asking.wanted
    return asking


@dataclass(frozen=True, slots=True)
class _PeerPlan:
    place: str
    discovery: Discovery


def _peers_of(options: Options, parts: Assembly, client: Client | None) -> _PeerPlan | None:
    """Where to listen for other pickers and how to find them; None when there are none."""
    if options.peers_folder is not None:
        options.peers_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = socket_in(options.peers_folder, parts.loads.replica)
        return _PeerPlan(place, FolderPeers(options.peers_folder, parts.clock))
    if not options.peers_address:
        return None
    if options.peers_service and client is not None:
        namespace, _, service = options.peers_service.partition("/")
        port = int(options.peers_address.rpartition(":")[2])
        return _PeerPlan(options.peers_address, ServicePeers(client, namespace, service, port, parts.clock))
    return _PeerPlan(options.peers_address, StaticPeers(options.peers))


async def _listen(server: PickerServer, options: Options) -> None:
    address = await server.start(f"unix:{picker_socket(options.data)}")
    _log.info("picker serves on %s", address)
    if options.grpc_address:
        listener = replace(
            FOREIGN, observes=options.observes, fallbacks=options.fallbacks, scores=options.scores,
            conformance=options.conformance,
        )  # fmt: skip
        address = await server.start(options.grpc_address, listener, tls=options.tls)
        _log.info("picker serves foreign gateways on %s", address)
    if options.health_address:
        _log.info("health on %s", await server.start_health(options.health_address))


async def _first(*waits: Coroutine[Any, Any, Any], timeout_s: float) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _tidy(parts: Assembly) -> None:
    while True:
        await parts.clock.sleep(EXPIRE_INTERVAL_S)
        now_s = parts.clock.monotonic_s()
        if lost := parts.loads.expire(now_s):
            _log.warning("stopped counting %d requests whose end was never reported", lost)
        parts.picker.predictor.relax(now_s)
