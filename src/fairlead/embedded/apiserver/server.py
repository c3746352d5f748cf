"""The API server as a process: one data folder, one HTTPS port.

Start: lock and load the store, credentials, system objects, custom resources, listen, write the kubeconfig, say ready.
Stop (SIGTERM, SIGINT): stop listening, end watches, let requests finish for a moment, commit, free the folder.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from aiohttp import web

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.apiserver.api import Api
from fairlead.embedded.apiserver.body import BODY_LIMIT_BYTES
from fairlead.embedded.apiserver.bootstrap import create_system_objects, restore_strategies
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.connections import Runner
from fairlead.embedded.apiserver.credentials import Credentials, load_or_create, write_kubeconfig
from fairlead.embedded.apiserver.custom_resources import CustomResources
from fairlead.embedded.apiserver.definitions import install_definitions
from fairlead.embedded.apiserver.event_expiry import EventExpiry
from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.store import DataFolderLocked, Store, WriteFailed
from fairlead.embedded.apiserver.tokens import TOKENS

SHUTDOWN_S = 2.0
MAX_OPEN_FILES = 65_536
SWITCH_INTERVAL_S = 0.001
"""How long the event loop may keep the interpreter lock from the store's writing thread, which holds it for
microseconds at a time; the default of 5 ms would be most of a write's latency."""


class PortTaken(Exception):
    """The port is in use."""


@dataclass(slots=True)
class Serving:
    """A running server."""

    url: str
    port: int
    kubeconfig: Path
    credentials: Credentials
    api: Api

    @property
    def store(self) -> Store:
        return self.api.objects.store


@asynccontextmanager
async def serve(data: Path, port: int = 0, host: str = "127.0.0.1", *, clock: Clock = SYSTEM) -> AsyncIterator[Serving]:
    """A server for the time of the context. Raises DataFolderLocked, PortTaken, WriteFailed."""
    listener = listen(host, port)
    try:
        store = Store(data / "apiserver")
    except BaseException:
        listener.close()
        raise
    try:
        store.start()
        port = listener.getsockname()[1]
        credentials = load_or_create(data / "apiserver", host, clock)
        api = Api(store, Catalog(builtin_types()), clock, credentials, data / "nodes" / "kubelet")
        async with CustomResources(api.objects) as custom_resources, EventExpiry(api.objects):
            restore_strategies(api.objects)
            await create_system_objects(api.objects, port)
            await install_definitions(api.objects)
            await custom_resources.load()
            runner = Runner(_application(api), access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
            await runner.setup()
            try:
                site = web.SockSite(runner, listener, ssl_context=credentials.ssl_context())
                await site.start()
                url = f"https://{host}:{port}"
                write_kubeconfig(data / "kubeconfig", credentials, url)
                yield Serving(url, port, data / "kubeconfig", credentials, api)
            finally:
                store.end_subscriptions()
                await runner.cleanup()
    finally:
        store.close()
        listener.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTaken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} on {host} is already in use") from error
        raise
    listener.setblocking(False)
    return listener


def _application(api: Api) -> web.Application:
    application = web.Application(client_max_size=BODY_LIMIT_BYTES + 1)
    application[TOKENS] = api.tokens
    application.router.add_route("*", "/{path:.*}", api.handle)
    return application


async def run(data: Path, port: int, host: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(data, port, host) as serving:
        # What is alive now stays alive: not scanning it again makes collections cheap.
        gc.collect()
        gc.freeze()
        print(f"ready: {serving.url} (kubeconfig {serving.kubeconfig})", flush=True)
        await stop.wait()


def allow_many_connections() -> None:
    """Raise the limit of open files to what the system lets a process have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(data: Path, port: int, host: str = "127.0.0.1") -> int:
    """Run the server in the foreground; returns the exit status. Errors are one sentence on stderr."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    allow_many_connections()
    try:
        uvloop.run(run(data, port, host))
    except (DataFolderLocked, PortTaken, WriteFailed) as error:
        print(f"fairlead apiserver: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"fairlead apiserver: {error.strerror or error}: {error.filename or data}", file=sys.stderr)
        return 1
    return 0
