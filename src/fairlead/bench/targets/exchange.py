"""One request and its answer, outside of any measurement: what came, or why nothing did."""

from __future__ import annotations

import asyncio
import os
import ssl
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fairlead.bench.config.target import Target
from fairlead.bench.targets.address import headers_of, split
from fairlead.bench.targets.readers import readers
from fairlead.bench.targets.reading import Reading
from fairlead.bench.targets.writing import peer
from fairlead.bench.worker.events import Events
from fairlead.bench.worker.pool import tls_context

if TYPE_CHECKING:
    import aiohttp

LARGEST_BYTES = 4 * 2**20
PAGE_S = 5.0

Failure = Literal["", "name", "refused", "connect-timeout", "timeout", "tls", "not-http", "unreadable"]


class Exchange(msgspec.Struct):
    """`failure` says that there is no answer, or none that can be read, and `detail` why. `streamed`: it came as
    events; `events` counts those with text."""

    status: int = 0
    headers: dict[str, str] = {}  # lower-case name -> value
    body: bytes = b""
    streamed: bool = False
    events: int = 0
    reading: Reading | None = None
    failure: Failure = ""
    detail: str = ""

    def said(self) -> str:
        """What the server says of it."""
        return self.body[:2000].decode(errors="replace").strip()

    def json(self) -> Any:
        """None where it is not."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


class Asker:
    """Asks one target, with its headers and its TLS. Redirects are not followed: a worker does not follow them."""

    def __init__(self, target: Target) -> None:
        """Raises ValueError for a target that cannot be asked, OSError for a certificate's file that cannot be read."""
        self._target, self._peer = target, peer(target)
        self._headers = headers_of(target)
        parts = split(target)
        self._root = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._ssl = tls_context(self._peer) if self._peer.tls else None

    async def __aenter__(self) -> Asker:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._target.connect_timeout_s)
        self._session: aiohttp.ClientSession = aiohttp.ClientSession(
            timeout=limits, auto_decompress=False, connector=aiohttp.TCPConnector(force_close=True)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def page(self, path: str, method: str = "GET", body: bytes = b"") -> Exchange:
        """A page beside the API."""
        try:
            async with asyncio.timeout(PAGE_S):
                return await self._ask(method, path, body, read=False)
        except TimeoutError:
            return Exchange(failure="timeout", detail=f"{path} did not answer within {PAGE_S:g} s")

    async def request(self, method: str, path: str, body: bytes) -> Exchange:
        """A request of the API, its answer read as a worker reads it."""
        return await self._ask(method, path, body, read=True)

    async def speaks_tls(self) -> bool:
        """Whether a handshake succeeds, whoever the server is."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(PAGE_S):
                _, writer = await asyncio.open_connection(self._peer.host, self._peer.port, ssl=context)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    async def _ask(self, method: str, path: str, body: bytes, read: bool) -> Exchange:
        import aiohttp
        from yarl import URL

        found = Exchange()
        try:
            async with self._session.request(
                method, URL(self._root + path, encoded=True), data=body or None, headers=self._headers,
                allow_redirects=False, ssl=self._ssl if self._ssl is not None else True,
                server_hostname=self._peer.server_name or None if self._ssl is not None else None,
            ) as answer:  # fmt: skip
                found.status = answer.status
                found.headers = {name.lower(): value for name, value in answer.headers.items()}
                await self._take(answer, found, read)
                return found
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return _failed(error)
        except ValueError as error:  # Unreadable, TooLong
            found.failure, found.detail = "unreadable", str(error)
            return found

    async def _take(self, answer: aiohttp.ClientResponse, found: Exchange, read: bool) -> None:
        take = readers(self._peer.reader, self._peer.reader_options)
        reading, events = Reading(False), Events()
        kind = found.headers.get("content-type", "").lower()
        found.streamed = read and take.event is not None and answer.status < 300 and "text/event-stream" in kind
        pieces: list[bytes] = []
        async for data in answer.content.iter_any():
            pieces.append(data)
            if sum(map(len, pieces)) > LARGEST_BYTES:
                break
            if found.streamed and take.event is not None:
                found.events += sum(take.event(event, reading) > 0 for event in events.feed(data) if not reading.done)
        found.body = b"".join(pieces)
        if read and answer.status < 300:
            found.reading = reading
            if not found.streamed:
                found.events = int(take.whole(found.body, reading) > 0)


def _failed(error: BaseException) -> Exchange:
    import aiohttp

    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    text = str(cause) or type(error).__name__
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and (cause.errno or 0) > 0:
        text = os.strerror(cause.errno or 0)  # an event loop's own words say no more than the address
    kinds: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Failure], ...] = (
        ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError), "tls"),
        (aiohttp.ClientConnectorDNSError, "name"),
        ((aiohttp.ConnectionTimeoutError,), "connect-timeout"),
        ((aiohttp.ClientConnectorError, ConnectionRefusedError), "refused"),
        ((TimeoutError,), "timeout"),
    )
    for kind, failure in kinds:
        if isinstance(error, kind) or (isinstance(cause, ssl.SSLError) and failure == "tls"):
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                text = str(error.certificate_error)
            return Exchange(failure=failure, detail=text)
    return Exchange(failure="not-http", detail=text)
