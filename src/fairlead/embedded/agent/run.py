"""Run a node agent: several virtual nodes in one process, on one data folder.

The folder holds `lock` (one agent per folder), `agent-id` (which marks the folder's Nodes), `kubelet/` (credentials of
the kubelet API) and `node/<name>/` with each node's pods. When the agent ends, however it ends, containers keep running
for the next agent; `stop_pods` ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent import cgroups, machine, mount_check
from fairlead.embedded.agent.addresses import PodAddresses, reserve_range
from fairlead.embedded.agent.agent import NodeAgent, end_pod
from fairlead.embedded.agent.api import ApiCluster
from fairlead.embedded.agent.backoff import BackoffPolicy
from fairlead.embedded.agent.credentials import KubeletCredentials
from fairlead.embedded.agent.dns_check import check_dns
from fairlead.embedded.agent.dra import absence
from fairlead.embedded.agent.dra.folder_watch import FolderWatch
from fairlead.embedded.agent.dra.node_devices import CDI_DIRS, NodeDevices
from fairlead.embedded.agent.environment import NodeView
from fairlead.embedded.agent.former import forget_former_nodes, read_identity
from fairlead.embedded.agent.name_files import ClusterDns
from fairlead.embedded.agent.node import NodeIdentity, capacity
from fairlead.embedded.agent.node_spec import NodeSpec, parse_nodes
from fairlead.embedded.agent.registration import Registration
from fairlead.embedded.agent.runtime import ProcessRuntime
from fairlead.embedded.agent.server import KubeletServer
from fairlead.embedded.agent.starter import HostLimits
from fairlead.embedded.agent.worker import NodeContext
from fairlead.kube.client import Client
from fairlead.kube.quantity import parse_quantity

KUBECONFIG_TIMEOUT_S = 60.0
_FILES, _FILES_PER_NODE = 1024, 64
"""Open files of the agent and of each node: its API, its drivers, the containers it watches."""
_log = logging.getLogger(__name__)


class AgentError(Exception):
    """The agent cannot start; the message says why and what to do."""


async def run(
    kubeconfig: str,
    data: Path,
    nodes: str,
    *,
    kubelet_port: int = 10250,
    client_ca: Path | None = None,
    anonymous: bool = False,
    policy: BackoffPolicy | None = None,
    refresh_s: float = 20.0,
    cdi_dirs: Sequence[Path] = CDI_DIRS,
    driver_away_s: float = absence.LIMIT_S,
    cluster_dns: str = "",
    clock: Clock = SYSTEM,
) -> None:
    """Run until cancelled or told by SIGTERM or SIGINT.

    `nodes` is described in `node_spec`; `client_ca` is the CA of a real API server's kubelet client certificate (by
    default callers show the shared token in `data/kubelet`); `anonymous` lets any caller use it; `cdi_dirs` are the
    folders of CDI specs that all nodes share; after `driver_away_s` without its driver a node offers no devices of it
    any more; `cluster_dns` is the address of the name server that pods are to ask, empty where there is none. Raises
    NodeSpecError, AgentError.
    """
    specs = parse_nodes(nodes)
    data = _absolute(data)
    _allow_open_files(_FILES + _FILES_PER_NODE * len(specs))
    with _locked(data):
        await _wait_for_kubeconfig(Path(kubeconfig), clock)
        async with Client.load(kubeconfig, user_agent="fairlead-agent") as client, _session() as session:
            credentials = await asyncio.to_thread(
                KubeletCredentials.prepare, data / "kubelet", client_ca, anonymous=anonymous
            )
            limits = await _host_limits()
            host = machine.inspect(data)
            runtime = ProcessRuntime(clock)
            environment = api_environment(client.credentials.server)
            agent_id = read_identity(data)
            agents = []
            dns: ClusterDns | None = None
            plugin_folders = FolderWatch(clock)
            for spec in specs:
                devices = NodeDevices(
                    _node_folder(data, spec), plugin_folders, cdi_dirs, clock, driver_away_s=driver_away_s
                )
                context, cluster = _context(
                    spec,
                    data,
                    client,
                    session,
                    host,
                    limits,
                    runtime,
                    devices,
                    environment,
                    policy or BackoffPolicy(),
                    clock,
                )
                if dns is None:
                    dns = await _cluster_dns(cluster_dns, context.node.host_ip)
                context.dns = dns
                context.refresh_s = refresh_s
                identity = NodeIdentity(spec, context.node.host_ip, kubelet_port, agent_id)
                registration = Registration(client, identity, host, data, clock)
                agents.append(NodeAgent(client, context, cluster, registration))
            watching = asyncio.create_task(plugin_folders.run())
            offered = {spec.name for spec in specs}
            forgetting = asyncio.create_task(forget_former_nodes(client, data, offered, runtime, clock))
            try:
                await _run_until_told(agents, credentials, kubelet_port)
            finally:
                watching.cancel()
                forgetting.cancel()
                await asyncio.gather(watching, forgetting, return_exceptions=True)


async def stop_pods(data: Path) -> int:
    """End every container below a data folder whose agent is not running; returns how many pods there were."""
    data = _absolute(data)
    with _locked(data):
        runtime = ProcessRuntime()
        folders = await asyncio.to_thread(_pod_folders, data)
        await asyncio.gather(*(end_pod(runtime, folder) for folder in folders))
        return len(folders)


def api_environment(server: str) -> dict[str, str]:
    """Where a client library inside a container looks for the API server."""
    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        "KUBERNETES_SERVICE_HOST": parts.hostname or "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
    }


def _context(
    spec: NodeSpec,
    data: Path,
    client: Client,
    session: aiohttp.ClientSession,
    host: machine.Machine,
    limits: HostLimits,
    runtime: ProcessRuntime,
    devices: NodeDevices,
    environment: dict[str, str],
    policy: BackoffPolicy,
    clock: Clock,
) -> tuple[NodeContext, ApiCluster]:
    folder = _node_folder(data, spec)
    folder.mkdir(parents=True, exist_ok=True)
    prefix = spec.address.rpartition(".")[0] if spec.address else reserve_range(folder)
    addresses = PodAddresses(prefix)
    if spec.address:
        addresses.node_ip = spec.address
    allocatable = {name: parse_quantity(amount).amount for name, amount in capacity(spec, host).items()}
    view = NodeView(spec.name, addresses.node_ip, allocatable)
    cluster = ApiCluster(client, spec.name, clock)
    context = NodeContext(
        view, folder, cluster, runtime, addresses, devices, limits, session, environment, policy=policy, clock=clock
    )
    return context, cluster


def _node_folder(data: Path, spec: NodeSpec) -> Path:
    """A node's root, where its drivers find `plugins_registry` as below a kubelet's `/var/lib/kubelet`."""
    return data / "node" / spec.name


async def _run_until_told(agents: list[NodeAgent], credentials: KubeletCredentials, port: int) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, told.set)
    servers = [KubeletServer(agent, credentials, agent.context.node.host_ip, port) for agent in agents]
    try:
        for server in servers:
            try:
                await server.start()
            except OSError as error:
                raise AgentError(f"cannot listen on {server.where}: {error.strerror or error}") from error
        work = [asyncio.ensure_future(agent.run()) for agent in agents]
        stop = asyncio.ensure_future(told.wait())
        try:
            both: set[asyncio.Future[Any]] = {*work, stop}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                if task.done():
                    task.result()
        finally:
            stop.cancel()
            for task in work:
                task.cancel()
            await asyncio.gather(*work, stop, return_exceptions=True)
    finally:
        for server in servers:
            await server.stop()


async def _cluster_dns(server: str, own: str) -> ClusterDns:
    """The name server for pods, where they can reach it. `own` is an address of ours."""
    why = await asyncio.to_thread(check_dns, own) if server else ""
    if why:
        _log.warning("pods have no cluster DNS (%s): they do not find Services and each other by name", why)
    return ClusterDns(server="" if why else server)


async def _host_limits() -> HostLimits:
    hierarchy = await asyncio.to_thread(cgroups.detect)
    if hierarchy.why_limited:
        _log.warning("%s: memory limits are enforced by watching processes, CPU limits are not", hierarchy.why_limited)
    mounts, why = await asyncio.to_thread(mount_check.check_mounts)
    if not mounts:
        _log.warning(
            "volumes cannot appear at their mount paths (%s): containers find them by FAIRLEAD_MOUNT_<NAME>, and have "
            "the machine's /etc/hosts and /etc/resolv.conf: names of Services, pods and hostAliases are unknown there",
            why,
        )
    return HostLimits(mounts, hierarchy)


async def _wait_for_kubeconfig(path: Path, clock: Clock) -> None:
    deadline_s = clock.monotonic_s() + KUBECONFIG_TIMEOUT_S
    while not await asyncio.to_thread(path.exists):
        if clock.monotonic_s() > deadline_s:
            raise AgentError(f"there is no kubeconfig at {path}: start the API server first or name another file")
        await clock.sleep(0.05)


def _allow_open_files(wanted: int) -> None:
    """Raise the limit of open files to what so many nodes take, as far as the system lets a process go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))


def _absolute(data: Path) -> Path:
    return Path(os.path.abspath(data))


def _pod_folders(data: Path) -> list[Path]:
    return list(data.glob("node/*/pods/*"))


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AgentError(f"cannot use the data folder {data}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise AgentError(f"another node agent is using the data folder {data}") from None
    try:
        yield
    finally:
        os.close(descriptor)
