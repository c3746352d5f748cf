"""The picker's own gRPC server: HTTP/2 on unix sockets and TCP, with or without TLS, straight on asyncio.

It serves what `Services` names and nothing else: no interceptors, no compression, no HTTP/1.1. That is what makes a
short call cost some tens of microseconds. `reference.ReferenceServer` serves the same on grpcio.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.transport.call import Services
from fairlead.gateway.transport.connection import Connection
from fairlead.gateway.transport.lifecycle import ConnectionLife
from fairlead.gateway.transport.limits import HeldBytes, Limits
from fairlead.gateway.transport.tls import ServerTls

log = logging.getLogger(__name__)

_BACKLOG = 1024
_UNIX = "unix:"


class FastServer:
    """Serves gRPC calls until stopped. `start` may be called once for each address."""

    def __init__(
        self,
        services: Services,
        *,
        tls: ServerTls | None = None,
        limits: Limits | None = None,
        clock: Clock = SYSTEM,
        socket_mode: int = 0o600,
    ) -> None:
        self.services = services
        self.limits = limits or Limits()
        self.clock = clock
        self.held = HeldBytes(self.limits.max_held_bytes)
        self._tls = tls
        self._socket_mode = socket_mode
        """Permissions of unix sockets."""
        self._listeners: list[asyncio.Server] = []
        self._addresses: list[str] = []
        self._sockets: dict[str, int] = {}
        """Path -> inode of the unix sockets."""
        self._connections: set[ConnectionLife] = set()
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._reloading: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens, first address first started: `unix:/path` or `host:port` with the real port."""
        return self._addresses[0]

    @property
    def port(self) -> int:
        """The TCP port of the first address that has one. Raises ValueError when all are unix sockets."""
        for address in self._addresses:
            if not address.startswith(_UNIX):
                return int(address.rpartition(":")[2])
        raise ValueError("the server listens on unix sockets only, which have no port")

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    @property
    def streams(self) -> int:
        """Open streams of all connections."""
        return sum(len(connection.streams) for connection in self._connections)

    async def start(self, address: str) -> None:
        """Listen on `unix:/path` or `host:port` (port 0: any). Raises ValueError for another form and OSError when the
        address cannot be bound."""
        path, host, port = parse_address(address)
        loop = asyncio.get_running_loop()
        context = self._tls.context if self._tls else None
        handshake_s = self.limits.handshake_s if context else None
        if path:
            _remove_stale(path)
            listener = await loop.create_unix_server(
                lambda: Connection(self), path, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=handshake_s
            )
            os.chmod(path, self._socket_mode)
            self._sockets[path] = os.stat(path).st_ino
            bound = _UNIX + path
        else:
            listener = await loop.create_server(
                lambda: Connection(self),
                host or None,
                port,
                backlog=_BACKLOG,
                ssl=context,
                ssl_handshake_timeout=handshake_s,
            )
            bound = f"{_bracketed(host)}:{listener.sockets[0].getsockname()[1]}"
        self._listeners.append(listener)
        self._addresses.append(bound)
        if self._tls and self._reloading is None:
            self._reloading = asyncio.create_task(self._tls.reload_forever(self.clock))

    async def stop(self, grace_s: float = 5.0) -> None:
        """Accept nothing new, let calls that run finish for up to `grace_s`, then end them with UNAVAILABLE. Takes
        little longer than `grace_s` whatever the peers do."""
        self._stopping = True
        if self._reloading is not None:
            self._reloading.cancel()
            self._reloading = None
        for listener in self._listeners:
            listener.close()
        for path, inode in self._sockets.items():
            # A successor may have its own socket there by now.
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        for connection in list(self._connections):
            connection.drain()
        # A peer that does not answer the PING in between has the second GOAWAY after a while.
        await self._wait_empty(min(grace_s / 4, 1.0))
        for connection in list(self._connections):
            connection.refuse_new()
        await self._wait_empty(grace_s - min(grace_s / 4, 1.0))
        for connection in list(self._connections):
            connection.end_calls()
        await self._wait_empty(0.2)
        for connection in list(self._connections):
            connection.abort()
        await self._wait_empty(1.0)

    def joined(self, connection: ConnectionLife) -> bool:
        """A connection is made. False when it is one too many or the server stops."""
        if self._stopping or len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def left(self, connection: ConnectionLife) -> None:
        """A connection is lost."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def _wait_empty(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), timeout_s)


def parse_address(address: str) -> tuple[str, str, int]:
    """Path of a unix socket, or host and port. Raises ValueError for another form."""
    if address.startswith(_UNIX):
        path = address.removeprefix(_UNIX)
        path = path.removeprefix("//") if path.startswith("///") else path
        if path:
            return path, "", 0
    else:
        host, colon, port = address.rpartition(":")
        if colon and port.isascii() and port.isdigit() and int(port) < 65_536:
            return "", host.removeprefix("[").removesuffix("]"), int(port)
    raise ValueError(f"address {address!r} is neither unix:/path nor host:port")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host or "0.0.0.0"


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that is no more. Raises OSError when one still listens there."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket; choose another path", path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                os.unlink(path)
                return
            except BlockingIOError:
                pass
        raise OSError(errno.EADDRINUSE, "another server listens there; stop it or choose another path", path)
