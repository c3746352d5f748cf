"""The connections to one target: kept, opened when there is none, and opened ahead so that a request need not wait."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections import deque

from fairlead.bench.record import Outcome
from fairlead.bench.targets.readers import readers
from fairlead.bench.wire import Peer
from fairlead.bench.worker.connection import Connection
from fairlead.bench.worker.flight import NAN, Flight

_now = time.monotonic  # noqa: TID251 (the hot path reads the clock itself)
SPARE = 4
"""Connections to have open and idle while requests are under way."""
OURS = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.ENOBUFS, errno.ENOMEM)
)  # fmt: skip
"""What keeps a connection from being opened and is this machine's lack, not the server's doing."""


class Pool:
    """Flights wait in order where `max_connections` are open."""

    def __init__(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = peer
        self.readers = readers(peer.reader, peer.reader_options)
        self._loop = loop
        self._idle: list[Connection] = []
        self._flying: dict[Flight, Connection] = {}
        self._waiting: deque[Flight] = deque()
        self._open: set[Connection] = set()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: list[tuple[socket.AddressFamily, str]] = []
        self._ssl = tls_context(peer) if peer.tls else None
        self._closed = False

    async def resolve(self) -> None:
        """Look the host up, once: names are not looked up while times are taken. Raises OSError."""
        try:
            found = await self._loop.getaddrinfo(self.peer.host, self.peer.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise OSError(f"{self.peer.host} cannot be looked up: {error.strerror or error}") from error
        self._addresses = [(family, str(address[0])) for family, _, _, _, address in found]

    @property
    def in_flight(self) -> int:
        return len(self._flying) + len(self._waiting)

    def fly(self, flight: Flight) -> None:
        """Send now where a connection is idle, else as soon as one is."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._flying[flight] = connection
                connection.send(flight)
                break
        else:
            self._waiting.append(flight)
            # Waiting for one of our own to be free is the load's doing, for a new one to open the server's.
            flight.capped = len(self._open) + self._opening >= self.peer.max_connections
        self._grow()

    def free(self, connection: Connection) -> None:
        """A connection whose flight has ended whole. The flight leaves `_flying` in `landed`."""
        if self._waiting and not self._closed:
            flight = self._waiting.popleft()
            self._flying[flight] = connection
            # Not from within the call that frees it: what has ended is recorded first.
            self._loop.call_soon(self._send, connection, flight)
        elif self._closed:
            connection.close()
        else:
            connection.kept = True
            self._idle.append(connection)

    def _send(self, connection: Connection, flight: Flight) -> None:
        if flight.ended:
            self.free(connection)
        elif connection.usable:
            connection.send(flight)
        else:
            self._flying.pop(flight, None)
            self.fly(flight)

    def landed(self, flight: Flight) -> None:
        self._flying.pop(flight, None)

    def gone(self, connection: Connection) -> None:
        """A connection is closed, by whomever."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting and not self._closed:
            self._grow()

    def again(self, flight: Flight, kept: bool) -> bool:
        """Whether a request is sent once more: a kept connection was closed as it was sent, and not one byte came
        back."""
        if flight.retried or not kept or self._closed:
            return False
        self._flying.pop(flight, None)
        flight.retried = True
        flight.sent_s = flight.written_s = NAN
        self._waiting.appendleft(flight)
        self._grow()
        return True

    def expire(self, flights: list[Flight], now_s: float) -> None:
        """End those of the flights that have taken too long."""
        peer = self.peer
        for flight in flights:
            connection = self._flying.get(flight)
            if connection is None or flight.sent_s != flight.sent_s:
                continue
            heard_s = flight.seen_s if flight.seen_s > flight.sent_s else flight.sent_s
            if now_s - flight.sent_s > peer.timeout_s:
                connection.abandon(Outcome.TIMEOUT, f"not ended within {peer.timeout_s:g} s", now_s)
            elif now_s - heard_s > peer.idle_timeout_s:
                connection.abandon(Outcome.IDLE_TIMEOUT, f"nothing came for {peer.idle_timeout_s:g} s", now_s)

    def expire_waiting(self, now_s: float) -> None:
        """End those that have waited too long for a connection."""
        peer = self.peer
        while self._waiting and now_s - self._waiting[0].acted_s > peer.timeout_s:
            self._waiting.popleft().end(now_s, Outcome.TIMEOUT, f"no connection within {peer.timeout_s:g} s")

    @property
    def flying(self) -> list[Flight]:
        return list(self._flying)

    def abort(self, flights: list[Flight], detail: str, now_s: float) -> None:
        for flight in flights:
            connection = self._flying.get(flight)
            if connection is not None and flight.sent_s == flight.sent_s:
                connection.abandon(Outcome.ABORTED, detail, now_s)
            flight.end(now_s, Outcome.ABORTED, detail)
        self._waiting = deque(f for f in self._waiting if not f.ended)

    def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for connection in [*self._idle, *self._flying.values()]:
            connection.close()

    # Opening

    def _grow(self) -> None:
        """As many as wait, and some to spare while there is traffic."""
        wanted = len(self._waiting) + max(0, SPARE - len(self._idle))
        room = self.peer.max_connections - len(self._open) - self._opening
        for _ in range(min(wanted - self._opening, room)):
            self._opening += 1
            task = self._loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        try:
            connection, outcome, problem = await self._opened()
        finally:
            self._opening -= 1
        if connection is not None:
            self._open.add(connection)
            self.free(connection)
        elif self._waiting:  # each failed attempt takes one that waits with it: nobody waits for ever
            self._waiting.popleft().end(_now(), outcome, problem)
            self._grow_for_waiting()

    async def _opened(self) -> tuple[Connection | None, Outcome, str]:
        """A connection, or how the last address failed."""
        peer = self.peer
        where = f"{peer.host}:{peer.port}"
        outcome, problem = Outcome.REFUSED_CONNECTION, ""
        for at, (family, address) in enumerate(self._addresses):
            connection = Connection(self)
            try:
                async with asyncio.timeout(peer.connect_timeout_s):
                    await self._loop.create_connection(
                        lambda made=connection: made, address, peer.port, family=family, ssl=self._ssl,
                        server_hostname=(peer.server_name or peer.host) if self._ssl else None,
                    )  # fmt: skip
            except TimeoutError:
                outcome, problem = Outcome.CONNECT_TIMEOUT, f"no connection within {peer.connect_timeout_s:g} s"
            except ssl.SSLError as error:
                outcome, problem = Outcome.TLS, f"TLS with {where}: {error.reason or error}"
                if isinstance(error, ssl.SSLCertVerificationError):
                    problem = f"the certificate of {where} does not pass: {error.verify_message}"
            except OSError as error:
                outcome, problem = Outcome.REFUSED_CONNECTION, f"{where}: {_why(error)}"
                if error.errno in OURS:
                    outcome = Outcome.CLIENT_LIMIT
                    problem += " (this machine's limit, not the server's: fewer connections, or ulimit -n)"
            else:
                if connection.usable:
                    if at:  # the address that answers is asked first from now on
                        self._addresses.insert(0, self._addresses.pop(at))
                    return connection, Outcome.WHOLE, ""
                outcome, problem = Outcome.CUT, f"{where} closed the connection as soon as it was open"
        return None, outcome, problem

    def _grow_for_waiting(self) -> None:
        if self._waiting and self._opening < len(self._waiting):
            self._grow()


def _why(error: OSError) -> str:
    """The system's words for it: an event loop's own say no more than the address."""
    if not error.errno or error.errno < 0:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def tls_context(peer: Peer) -> ssl.SSLContext:
    """Raises OSError (with the file's name) where a file cannot be read."""
    file = peer.ca_file
    try:
        context = ssl.create_default_context(cafile=file or None)
        if peer.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if peer.client_certificate:
            file = peer.client_certificate
            context.load_cert_chain(file, peer.client_key or None)
    except OSError as error:  # OpenSSL does not say which
        raise OSError(error.errno, error.strerror or str(error), file) from error
    return context
