"""Whole requests over kept connections: HTTP/1.1 with no more than requests to an API server need.

A client that writes thousands of small objects spends most of its time in its HTTP library. This one sends a request in
one piece, reads the answer by its length or in chunks, and keeps the connection. Streams and proxies are not its job.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from multidict import CIMultiDict

_HEAD_LIMIT: Final = 2**16
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class CannotConnect(OSError):
    """No connection could be made: nothing was sent."""


class BrokenOff(OSError):
    """The connection ended before the whole answer was there, or what came is no HTTP."""


@dataclass(slots=True)
class WholeAnswer:
    """An answer that has been read to its end."""

    status: int
    reason: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass(slots=True)
class _Reading:
    """How far an answer has been read."""

    method: str
    done: asyncio.Future[WholeAnswer]
    head: WholeAnswer | None = None
    length: int | None = None
    """Bytes of the body; None for chunks, or until the connection closes."""
    is_chunked: bool = False
    chunks: list[bytes] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_open = True
        self.idle_since_s = 0.0
        self._buffer = bytearray()
        self._reading: _Reading | None = None
        self._closes = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No check of the type: uvloop's TLS transports are of none that asyncio knows.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        reading = self._reading
        if reading is None or reading.done.done():
            return
        if reading.head is not None and reading.length is None and not reading.is_chunked:
            self._finish(bytes(self._buffer))
        else:
            reading.done.set_exception(BrokenOff(str(error) if error else "the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        reading = self._reading
        if reading is None or reading.done.done():
            # Nobody asked: whatever it is, the connection is of no more use.
            self.close()
            return
        try:
            self._read(reading)
        except (ValueError, IndexError, zlib.error) as error:
            reading.done.set_exception(BrokenOff(f"the answer is no HTTP: {error}"))
            self.close()

    def send(self, method: str, request: bytes) -> asyncio.Future[WholeAnswer]:
        assert self.transport is not None
        done: asyncio.Future[WholeAnswer] = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._reading = _Reading(method, done)
        self.transport.write(request)
        return done

    def close(self) -> None:
        self.is_open = False
        if self.transport is not None:
            self.transport.abort()

    def _read(self, reading: _Reading) -> None:
        while reading.head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_LIMIT:
                    raise ValueError("its head has no end")
                return
            head = _parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if head.status >= 200:
                self._begin_body(reading, head)
        if reading.is_chunked:
            self._read_chunks(reading)
        elif reading.length is not None and len(self._buffer) >= reading.length:
            self._finish(bytes(self._buffer[: reading.length]))

    def _begin_body(self, reading: _Reading, head: WholeAnswer) -> None:
        reading.head = head
        self._closes = "close" in head.headers.get("Connection", "").lower()
        if reading.method == "HEAD" or head.status in (204, 304):
            reading.length = 0
        elif "chunked" in head.headers.get("Transfer-Encoding", "").lower():
            reading.is_chunked = True
        elif "Content-Length" in head.headers:
            reading.length = int(head.headers["Content-Length"])
        else:
            self._closes = True

    def _read_chunks(self, reading: _Reading) -> None:
        while True:
            line_end = self._buffer.find(b"\r\n")
            if line_end < 0:
                return
            size = int(bytes(self._buffer[:line_end]).split(b";", 1)[0], 16)
            end = line_end + 2 + size
            if size == 0:
                # Trailers, if any, end with an empty line.
                if self._buffer.find(b"\r\n\r\n", line_end) < 0:
                    return
                self._finish(b"".join(reading.chunks))
                return
            if len(self._buffer) < end + 2:
                return
            reading.chunks.append(bytes(self._buffer[line_end + 2 : end]))
            del self._buffer[: end + 2]

    def _finish(self, body: bytes) -> None:
        reading = self._reading
        assert reading is not None and reading.head is not None
        self._reading = None
        answer = reading.head
        if answer.headers.get("Content-Encoding") == "gzip":
            body = zlib.decompress(body, wbits=31)
        answer.body = body
        if self._closes:
            self.close()
        if not reading.done.done():
            reading.done.set_result(answer)


def _parse_head(head: bytes) -> WholeAnswer:
    first, *lines = head.decode("latin-1").split("\r\n")
    protocol, status, *reason = first.split(" ", 2)
    if not protocol.startswith("HTTP/1."):
        raise ValueError(f"it begins with {first[:40]!r}")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    return WholeAnswer(int(status), reason[0] if reason else "", headers, b"")


class Connections:
    """Kept connections to one server. Requests that find none free open another."""

    def __init__(self, host: str, port: int, *, idle_s: float) -> None:
        """`idle_s`: how long a connection is kept without use; less than the server keeps it."""
        self._host = host
        self._port = port
        self._idle_s = idle_s
        self._free: deque[_Connection] = deque()
        self._tls: ssl.SSLContext | None = None
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        while self._free:
            self._free.pop().close()

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, *,
        tls: ssl.SSLContext | None, server_name: str | None,
    ) -> WholeAnswer:  # fmt: skip
        """The answer to a request. `target` is the path with the query; `tls` None for plain HTTP.

        Raises CannotConnect, ssl.SSLError (the server is not who it should be), and BrokenOff. A read on a connection
        that the server was just closing is sent again on a new one.
        """
        if tls is not self._tls:
            self.close()
            self._tls = tls
        request = self._request(method, target, headers, body)
        while (connection := self._take()) is not None:
            try:
                return await self._exchange(connection, method, request)
            except BrokenOff:
                if method not in _SAFE_METHODS:
                    raise
        return await self._exchange(await self._open(tls, server_name), method, request)

    async def _exchange(self, connection: _Connection, method: str, request: bytes) -> WholeAnswer:
        try:
            answer = await connection.send(method, request)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._free.append(connection)
        return answer

    def _take(self) -> _Connection | None:
        """A free connection that can be expected to be open still: the one that was used last."""
        oldest_s = asyncio.get_running_loop().time() - self._idle_s
        while self._free and self._free[0].idle_since_s < oldest_s:
            self._free.popleft().close()
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
        return None

    async def _open(self, tls: ssl.SSLContext | None, server_name: str | None) -> _Connection:
        loop = asyncio.get_running_loop()
        name = (server_name or self._host) if tls is not None else None
        try:
            _, connection = await loop.create_connection(
                _Connection, self._host, self._port, ssl=tls, server_hostname=name
            )
        except ssl.SSLError:
            raise
        except OSError as error:
            raise CannotConnect(error.errno, error.strerror or str(error)) from error
        return connection

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body or b'')}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")
