"""An HTTP/1.1 client for one job: the same page of many servers, over and over, bounded in size and time.

A general client costs several hundred microseconds for each page; a thousand idle endpoints would keep a tenth of a
core busy with it. One `PageConnection` asks for one page at a time and calls back; it makes no task, and the request is
made once. Bodies by length, in chunks or until the end of the connection; no redirects, no compression, no cookies.

Protocol: RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

MAX_HEAD_BYTES = 16 * 1024
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Larger than any engine's: vLLM with a hundred adapters has 300 kB."""

_TEXT_TYPES = (b"text/plain", b"application/openmetrics-text", b"text/x-plain")


@dataclass(frozen=True, slots=True)
class PageError:
    """Why there is no page. `answered`: an HTTP answer came, so that somebody is alive there."""

    message: str
    refused: bool = False
    """No connection could be made."""
    answered: bool = False
    status: int = 0
    lost: bool = False
    """The connection ended before the first byte of an answer: one that was kept may just have been too old."""


Done = Callable[[bytes | PageError], None]


def request_for(authority: str, path: str, *, close: bool) -> bytes:
    """The request of a page; `close`: the server is to end the connection after its answer."""
    connection = "close" if close else "keep-alive"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/plain\r\nAccept-Encoding: identity\r\n"
        f"Connection: {connection}\r\nUser-Agent: fairlead\r\n\r\n"
    ).encode("ascii")


class PageConnection(asyncio.Protocol):
    """One connection. `ask` when `free`; the callback is called exactly once for each question."""

    __slots__ = (
        "_chunked", "_chunks", "_closes", "_done", "_head", "_loop", "_received", "_rest", "_status", "_timer",
        "_transport",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reset()

    @property
    def free(self) -> bool:
        """Whether it is open and nothing is under way."""
        return self._transport is not None and self._done is None and not self._transport.is_closing()

    def ask(self, request: bytes, timeout_s: float, done: Done) -> None:
        """Send the request; the answer must be whole within `timeout_s`."""
        transport = self._transport
        assert transport is not None
        self._done = done
        self._reset()
        self._timer = self._loop.call_later(timeout_s, self._fail, PageError(f"no whole page within {timeout_s:g} s"))
        transport.write(request)

    def close(self) -> None:
        """End the connection; a question under way is answered with an error."""
        if self._done is not None:
            self._fail(PageError("closed"))
        elif self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._done is None:
            return
        if not self._head and self._rest is None and not self._chunked:
            self._finish()
        else:
            lost = self._head and not self._received
            message = f"connection lost before the page was whole{f': {error}' if error else ''}"
            self._fail(PageError(message, lost=lost))

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._done is None:
            # Nobody asked: whatever it is, the next answer could not be told from it.
            self.close()
            return
        if self._head:
            self._take_head(data)
        else:
            self._take_body(data)

    def _reset(self) -> None:
        self._head = True
        self._received: list[bytes] = []
        self._chunks: _Chunks | None = None
        self._rest: int | None = None
        self._chunked = self._closes = False
        self._status = 0

    def _take_head(self, data: bytes) -> None:
        if self._received:
            data = self._received[0] + data
        end = data.find(b"\r\n\r\n")
        if end < 0 and len(data) < MAX_HEAD_BYTES:
            self._received = [data]
            return
        problem = f"the head is larger than {MAX_HEAD_BYTES} bytes" if end < 0 else self._read_head(data[:end])
        if problem:
            self._fail(PageError(problem, answered=self._status > 0, status=self._status))
            return
        self._received = []
        if self._status < 200:
            self._take_head(data[end + 4 :])
            return
        self._head = False
        self._take_body(data[end + 4 :])

    def _read_head(self, head: bytes) -> str:
        """Take over what the head says; returns what is wrong with it, or nothing."""
        lines = head.split(b"\r\n")
        version, _, rest = lines[0].partition(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not rest[:3].isdigit():
            return f"no HTTP answer: {lines[0][:60]!r}"
        self._status = int(rest[:3])
        if self._status < 200:
            return ""
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        connection = headers.get(b"connection", b"").lower()
        self._closes = connection == b"close" or (version == b"HTTP/1.0" and connection != b"keep-alive")
        self._chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        length = headers.get(b"content-length", b"")
        if self._chunked:
            self._chunks = _Chunks()
        elif length:
            if not length.isdigit() or int(length) > MAX_PAGE_BYTES:
                return f"content-length {length[:20].decode('latin-1')}: at most {MAX_PAGE_BYTES} bytes are read"
            self._rest = int(length)
        if self._status != 200:
            return f"HTTP {self._status}"
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind and kind not in _TEXT_TYPES:
            return f"content-type {kind[:60].decode('latin-1')} is not that of a metrics page"
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            return "the page is compressed, which was not asked for"
        return ""

    def _take_body(self, data: bytes) -> None:
        if self._chunks is not None:
            problem = self._chunks.take(data)
            if problem:
                self._fail(PageError(problem, answered=True, status=200))
            elif self._chunks.whole:
                self._finish()
            return
        self._received.append(data)
        if self._rest is not None:
            self._rest -= len(data)
            if self._rest <= 0:
                if self._rest < 0:
                    self._closes = True
                    self._received[-1] = data[: self._rest]
                self._finish()
        elif sum(map(len, self._received)) > MAX_PAGE_BYTES:
            self._fail(PageError(f"more than {MAX_PAGE_BYTES} bytes", answered=True, status=200))

    def _finish(self) -> None:
        parts = self._chunks.parts if self._chunks is not None else self._received
        page = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._transport is not None and (self._closes or (self._rest is None and not self._chunked)):
            self._transport.abort()
        self._settle(page)

    def _fail(self, error: PageError) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._settle(error)

    def _settle(self, outcome: bytes | PageError) -> None:
        done, self._done = self._done, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._received, self._chunks = [], None
        if done is not None:
            done(outcome)


class _Chunks:
    """A body in chunks, taken apart as it comes."""

    __slots__ = ("_buffer", "_ending", "_left", "_size", "parts", "whole")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.whole = False
        self._buffer = b""
        self._ending = False
        """The last chunk has come; trailers, or the empty line alone, follow."""
        self._left = 0
        """Bytes of the current chunk that are to come, with the line break after them."""
        self._size = 0

    def take(self, data: bytes) -> str:
        """Returns what is wrong, or nothing."""
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        at = 0
        while at < len(data):
            if self._ending:
                return self._end(data[at:])
            if self._left:
                at = self._take_part(data, at)
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._buffer = data[at:]
                return "a chunk's size line is too long" if len(data) - at > 256 else ""
            text = data[at:end].partition(b";")[0].strip()
            at = end + 2
            if not text or len(text) > 8 or text.strip(b"0123456789abcdefABCDEF"):
                return f"a chunk's size is {text[:20]!r}"
            size = int(text, 16)
            self._ending = size == 0
            self._size += size
            if self._size > MAX_PAGE_BYTES:
                return f"more than {MAX_PAGE_BYTES} bytes"
            self._left = size + 2 if size else 0
        return ""

    def _end(self, rest: bytes) -> str:
        if rest.startswith(b"\r\n") or b"\r\n\r\n" in rest:
            self.whole = True
        elif len(rest) > MAX_HEAD_BYTES:
            return "the trailers are too large"
        else:
            self._buffer = rest
        return ""

    def _take_part(self, data: bytes, at: int) -> int:
        part = data[at : at + self._left]
        content = part[: max(0, self._left - 2)]
        if content:
            self.parts.append(content)
        self._left -= len(part)
        return at + len(part)
