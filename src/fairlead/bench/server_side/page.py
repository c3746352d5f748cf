"""One page, looked at over and over on a connection that is kept; whatever is wrong with it is an answer too."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from fairlead.bench.config.target import Tls
from fairlead.clock import SYSTEM
from fairlead.engines.page_client import PageConnection, PageError, request_for

NO_TLS = Tls()
UNIX = "unix:"


class Address(NamedTuple):
    """Where a page is. `host` is without the brackets of IPv6; `socket`: the path of a Unix socket instead."""

    host: str
    port: int
    path: str
    tls: bool = False
    socket: str = ""

    @property
    def authority(self) -> str:
        if self.socket:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Without the query, in which there may be secrets."""
        if self.socket:
            return f"{UNIX}{self.socket}"
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path.partition('?')[0]}"


def address_of(text: str, path: str = "/metrics", port: int | None = None) -> Address:
    """Of `host:port`, a URL, or `unix:/path/of/a/socket`; `path` and `port` where it has none of its own."""
    if text.startswith(UNIX):
        return Address("", 0, path, socket=text.removeprefix(UNIX))
    parts = urlsplit(text if "://" in text else f"http://{text}")
    tls = parts.scheme == "https"
    own = parts.path.rstrip("/")
    query = f"?{parts.query}" if parts.query else ""
    at = parts.port or port or (443 if tls else 80)
    return Address(parts.hostname or "", at, (parts.path if own else path) + query, tls)


class Look(NamedTuple):
    """What came of one. Times on the monotonic clock: when it was asked for, and when the answer was whole."""

    outcome: bytes | PageError
    asked_s: float
    answered_s: float

    @property
    def at_s(self) -> float:
        """When the page was as it says, to within half of what the answer took."""
        return (self.asked_s + self.answered_s) / 2


class Page:
    """Looks one at a time. `token` is sent as a bearer token."""

    def __init__(self, address: Address, tls: Tls = NO_TLS, token: str | None = None) -> None:
        self.address = address
        request = request_for(address.authority, address.path, close=False)
        self._request = request if token is None else request[:-2] + f"Authorization: Bearer {token}\r\n\r\n".encode()
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._connection: PageConnection | None = None

    async def look(self, within_s: float) -> Look:
        """Takes no longer than `within_s`, and raises nothing."""
        began_s = SYSTEM.monotonic_s()
        until_s = began_s + within_s
        if (kept := self._connection) is not None and kept.free:
            look = await self._ask(kept, within_s)
            # It may have been closed at the other end since the last look.
            if not (isinstance(look.outcome, PageError) and look.outcome.lost):
                return look
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until_s - SYSTEM.monotonic_s()):
                self._connection = connection = await self._connect()
        except TimeoutError:
            return Look(PageError(f"no connection within {within_s:g} s"), began_s, SYSTEM.monotonic_s())
        except (OSError, ValueError) as error:
            why = f"{_plain(error)}"
            return Look(PageError(why, refused=True), began_s, SYSTEM.monotonic_s())
        return await self._ask(connection, max(0.01, until_s - SYSTEM.monotonic_s()))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connect(self) -> PageConnection:
        loop, address = asyncio.get_running_loop(), self.address
        if address.socket:
            return (await loop.create_unix_connection(lambda: PageConnection(loop), address.socket))[1]
        if not address.tls:
            return (await loop.create_connection(lambda: PageConnection(loop), address.host, address.port))[1]
        if self._context is None:
            self._context = _context(self._tls)
        name = self._tls.server_name or address.host
        return (
            await loop.create_connection(
                lambda: PageConnection(loop), address.host, address.port, ssl=self._context, server_hostname=name
            )
        )[1]

    async def _ask(self, connection: PageConnection, within_s: float) -> Look:
        asked_s = SYSTEM.monotonic_s()
        if not connection.free:
            return Look(PageError("the connection was closed at once", lost=True), asked_s, asked_s)
        done: asyncio.Future[bytes | PageError] = asyncio.get_running_loop().create_future()

        def answered(outcome: bytes | PageError) -> None:
            if not done.done():
                done.set_result(outcome)

        connection.ask(self._request, within_s, answered)
        try:
            outcome = await done
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                connection.close()
            raise
        return Look(outcome, asked_s, SYSTEM.monotonic_s())


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises OSError for files that cannot be read."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.client_certificate is not None:
        context.load_cert_chain(tls.client_certificate, tls.client_key)
    if tls.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _plain(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
