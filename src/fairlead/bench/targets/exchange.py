"""One request and its answer, outside of any measurement: what came, or why nothing did."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from typing import Any, Literal

import msgspec

from fairlead.bench.config.target import Target
from fairlead.bench.targets.address import headers_of
from fairlead.bench.targets.answer import Answer
from fairlead.bench.targets.readers import readers
from fairlead.bench.targets.reading import Reading
from fairlead.bench.targets.writing import peer
from fairlead.bench.worker.answer_head import NotHttp
from fairlead.bench.worker.events import Events
from fairlead.bench.worker.pool import tls_context

LARGEST_BYTES = 4 * 2**20
PAGE_S = 5.0
_ERRNO = re.compile(r"\[Errno (\d+)\]")

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
        self._ssl = tls_context(self._peer) if self._peer.tls else None

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
        found = Exchange()
        opened = await self._opened(found)
        if opened is None:
            return found
        reader, writer = opened
        length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\n{lines}{length}Connection: close\r\n\r\n".encode() + body)
            await self._take(Answer(reader), found, read)
        except NotHttp as error:
            found.failure, found.detail = "not-http", str(error)
        except (OSError, EOFError) as error:
            found.failure, found.detail = "not-http", _words(error)
        except ValueError as error:  # Unreadable, TooLong
            found.failure, found.detail = "unreadable", str(error)
        finally:
            writer.close()
        return found

    async def _opened(self, found: Exchange) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """None: `found` says why there is no connection."""
        peer = self._peer
        server_name = peer.server_name or peer.host if self._ssl is not None else None
        try:
            async with asyncio.timeout(self._target.connect_timeout_s):
                return await asyncio.open_connection(
                    peer.host, peer.port, ssl=self._ssl, server_hostname=server_name, limit=LARGEST_BYTES
                )
        except TimeoutError as error:
            found.failure, found.detail = "connect-timeout", _words(error)
        except ssl.SSLError as error:
            found.failure, found.detail = "tls", str(error)
        except socket.gaierror as error:
            found.failure, found.detail = "name", str(error)
        except OSError as error:
            found.failure, found.detail = "refused", _words(error)
            if self._ssl is not None and isinstance(error, ConnectionResetError | ConnectionAbortedError):
                found.failure, found.detail = "tls", "the server closed the connection in the handshake"
        return None

    async def _take(self, answer: Answer, found: Exchange, read: bool) -> None:
        head = await answer.head()
        found.status, found.headers = head.status, answer.headers
        take = readers(self._peer.reader, self._peer.reader_options)
        reading, events = Reading(False), Events()
        found.streamed = read and take.event is not None and head.status < 300 and head.event_stream
        pieces: list[bytes] = []
        async for data in answer.body():
            pieces.append(data)
            if sum(map(len, pieces)) > LARGEST_BYTES:
                break
            if found.streamed and take.event is not None:
                found.events += sum(take.event(event, reading) > 0 for event in events.feed(data) if not reading.done)
        found.body = b"".join(pieces)
        if read and head.status < 300:
            found.reading = reading
            if not found.streamed:
                found.events = int(take.whole(found.body, reading) > 0)


def _words(error: BaseException) -> str:
    """An event loop's own words say no more than the address."""
    found = _ERRNO.search(str(error))
    number = error.errno if isinstance(error, OSError) and error.errno else int(found[1]) if found else 0
    return os.strerror(number) if number > 0 else str(error) or type(error).__name__
