"""HTTP connections of worker threads: kept open, with a limit on silence and on crawling.

The standard library's blocking client on threads, not aiohttp: a pull is a copy from sockets to files with a hash
between, all of which leave Python's lock; measured on two cores against docker-registry it moves 955 MB/s where
aiohttp moves 548, and `fairlead model pull`, an init container, starts 0.4 s sooner.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fairlead.clock import SYSTEM, Clock
from fairlead.serving.store.errors import StoreError, Unreachable
from fairlead.serving.store.logins import Logins
from fairlead.serving.store.repository import BUFFER_BYTES

Origin = tuple[str, str, int]
"""Scheme, host, port."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How registries are talked to.

    `ca_file`: PEM of further authorities. `insecure`: certificates are not checked. `plain_http`: None: only with
    loopback addresses. `silence_s`: a peer that sends nothing for so long is given up, and one that stays below
    `least_bytes_per_s` for that long too. `attempts`: of one request, and of one blob without any progress.
    `longest_wait_s`: the most that a Retry-After is obeyed.
    """

    logins: Logins = field(default_factory=Logins)
    ca_file: Path | None = None
    insecure: bool = False
    plain_http: bool | None = None
    silence_s: float = 30.0
    least_bytes_per_s: float = 1024.0
    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    clock: Clock = SYSTEM


def is_loopback(host: str) -> bool:
    """Whether this host name or address is this machine alone."""
    name = host.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def base_url(host: str, settings: Settings) -> str:
    """`https://host`, or http where that was asked for or the host is loopback and no authority was named."""
    name = urlsplit(f"//{host}").hostname or ""
    plain = settings.plain_http
    if plain is None:
        plain = is_loopback(name) and settings.ca_file is None and not settings.insecure
    return f"{'http' if plain else 'https'}://{host}"


class Answer(http.client.HTTPResponse):
    """A response whose body can be read as it comes, without waiting for a full buffer."""

    def take(self, into: memoryview) -> int:
        """At most one read from the socket; 0 at the end of the body."""
        if self.chunked or self.length is None:
            part = self.read1(len(into))
            into[: len(part)] = part
            return len(part)
        if self.length == 0 or self.fp is None:
            return 0
        count: int = self.fp.readinto1(into[: min(len(into), self.length)])
        if count == 0:
            raise http.client.IncompleteRead(b"", self.length)
        self.length -= count
        if self.length == 0:
            self._close_conn()  # type: ignore[attr-defined]
        return count


class Pool:
    """Open connections by origin. Threads take one for a request and give it back after the body."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._idle: defaultdict[Origin, list[http.client.HTTPConnection]] = defaultdict(list)
        self._busy: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def take(self, url: str, *, fresh: bool = False) -> http.client.HTTPConnection:
        """An idle connection, else (or with `fresh`) a new one, not yet connected."""
        with self._lock:
            idle = [] if fresh else self._idle[origin(url)]
            connection = idle.pop() if idle else None
        connection = connection or self._new(url)
        with self._lock:
            self._busy.add(connection)
        return connection

    def give_back(self, url: str, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose last body was read to its end."""
        with self._lock:
            self._busy.discard(connection)
            self._idle[origin(url)].append(connection)

    def drop(self, connection: http.client.HTTPConnection) -> None:
        """Close a connection that is not to be used again."""
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def abort(self) -> None:
        """Break every conversation under way, so that nobody waits for a peer any longer."""
        with self._lock:
            for connection in self._busy:
                if connection.sock is not None:
                    with suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _new(self, url: str) -> http.client.HTTPConnection:
        scheme, host, port = origin(url)
        proxy = _proxy(scheme, host)
        at_host, at_port = (proxy.hostname or "", proxy.port or 3128) if proxy else (host, port)
        options: dict[str, Any] = {"timeout": self.settings.silence_s, "blocksize": BUFFER_BYTES}
        connection: http.client.HTTPConnection
        if scheme == "https":
            connection = http.client.HTTPSConnection(at_host, at_port, context=self._context(), **options)
            if proxy:
                connection.set_tunnel(host, port)
        elif proxy:
            raise StoreError(
                f"{url}: plain HTTP through a proxy is not supported: put {host} into NO_PROXY, or use TLS"
            )
        else:
            connection = http.client.HTTPConnection(at_host, at_port, **options)
        connection.response_class = Answer
        return connection

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = _tls(self.settings)
            return self._tls


def origin(url: str) -> Origin:
    """Who is asked under a URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unreachable(f"{url!r} is no http or https address")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def start(connection: http.client.HTTPConnection, method: str, url: str, headers: Mapping[str, str]) -> None:
    """Send a request's head, connecting first where need be."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        if settings.ca_file is not None:
            context.load_verify_locations(settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StoreError(f"{settings.ca_file}: no certificates of authorities in PEM: {error}") from error
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _proxy(scheme: str, host: str) -> Any:
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    found = urllib.request.getproxies().get(scheme)
    return urlsplit(found if "://" in found else f"http://{found}") if found else None
