"""HTTP for sources: requests with patience, and ranged reads that go on where they were cut.

A server may be slow, cut connections, ask for time (429, 503 with Retry-After), ignore ranges or change the file under
the reader. Everything is bounded: silence, trickling, attempts without a new byte, redirects, the size of answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import yarl

from fairlead.clock import SYSTEM, Clock
from fairlead.serving.store.sources.errors import Changed, Denied, NotThere, SourceError, Unreachable

MAX_ANSWER_BYTES = 64 << 20
_MAX_REDIRECTS = 8
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_READ_BYTES = 1 << 20
_PROGRESS_BYTES = 64 << 10
"""What a connection has to bring for the attempts to be counted anew."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a source may take. `attempts` are those in a row that bring nothing new.

    A connection that brings less than `least_bytes_per_s` over `slow_s` counts as cut.
    """

    connect_s: float = 10.0
    silence_s: float = 30.0
    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0
    slow_s: float = 60.0
    least_bytes_per_s: float = 1024.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request, made anew for each attempt as signatures age. `host_headers` are not sent to other hosts."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    host_headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


RequestMaker = Callable[[Mapping[str, str]], Request]
"""Further headers (Range, If-Match) -> the request with them."""


class Answered(SourceError):
    """An answer with a status that is not the hoped one."""

    def __init__(self, status: int, url: str, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"{plain_url(url)}: {status} {detail}".rstrip())
        self.status, self.headers, self.detail = status, headers, detail


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpReader:
    """One session of connections. Use as an async context manager, or call `close`."""

    def __init__(self, patience: Patience | None = None, clock: Clock = SYSTEM, connections: int = 64) -> None:
        self.patience = patience or Patience()
        self._clock = clock
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, make: RequestMaker, limit_bytes: int = MAX_ANSWER_BYTES) -> Answer:
        """A whole small answer. Raises Answered, Unreachable."""
        failures = 0
        while True:
            try:
                async with self._open(make({})) as response:
                    body = await _read_at_most(response, limit_bytes)
                    return Answer(response.status, response.headers, body)
            except (_Cut, Answered) as error:
                failures += 1
                await self._wait_or_give_up(error, failures, plain_url(make({}).url))

    async def read(
        self, make: RequestMaker, start: int, end: int | None, *, tag: str = "", size: int | None = None
    ) -> AsyncIterator[bytes]:
        """Bytes `start` to `end` (exclusive; None: to the end), going on after cuts.

        `tag`: the ETag that the file must have. `size`: of the whole file, where it is known.
        Raises Answered, Unreachable, Changed.
        """
        offset, failures = start, 0
        end = size if end is None else end
        counted = offset
        while end is None or offset < end:
            headers = {} if offset == 0 and end == size else {"Range": _range(offset, end)}
            if tag and headers and not tag.startswith("W/"):
                headers["If-Match"] = tag
            request = make(headers)
            try:
                async with self._open(request) as response:
                    skip = _check_range(response, request.url, offset, end, size)
                    async for data in self._body(response):
                        if skip:
                            dropped = min(skip, len(data))
                            skip -= dropped
                            data = data[dropped:]
                        if end is not None:
                            data = data[: end - offset]
                        if data:
                            offset += len(data)
                            yield data
                        if end is not None and offset >= end:
                            return
                if end is None:
                    return
                raise _Cut(f"the answer ended {end - offset} bytes early")
            except (_Cut, Answered) as error:
                if end is None and offset > start:
                    raise Unreachable(f"{plain_url(request.url)}: {error}, and it takes no ranges") from error
                failures = 1 if offset - counted >= _PROGRESS_BYTES else failures + 1
                counted = offset
                await self._wait_or_give_up(error, failures, plain_url(request.url))

    async def _body(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body, as long as it comes at more than a trickle."""
        patience = self.patience
        began_s, received = self._clock.monotonic_s(), 0
        try:
            while data := await response.content.read(_READ_BYTES):
                yield data
                received += len(data)
                passed_s = self._clock.monotonic_s() - began_s
                if passed_s > patience.slow_s:
                    if received < passed_s * patience.least_bytes_per_s:
                        raise _Cut(f"only {received} bytes came within {passed_s:.0f} s")
                    began_s, received = self._clock.monotonic_s(), 0
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Cut(_said(error, patience)) from error

    @contextlib.asynccontextmanager
    async def _open(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, after redirects. Raises Answered for all but 2xx, _Cut for what may go better next time."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=self.patience.connect_s, sock_read=self.patience.silence_s
            )
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                connector=aiohttp.TCPConnector(limit=self._connections),
                read_bufsize=_READ_BYTES,
                auto_decompress=False,
                trust_env=True,
                headers={"Accept-Encoding": "identity", "User-Agent": "fairlead"},
            )
        url, first = request.url, urlsplit(request.url)
        for _ in range(_MAX_REDIRECTS):
            parts = urlsplit(url)
            headers = dict(request.headers)
            if (parts.scheme, parts.netloc) == (first.scheme, first.netloc):
                headers |= request.host_headers
            try:
                response = await self._session.request(
                    request.method,
                    yarl.URL(url, encoded=True),
                    headers=headers,
                    data=request.body,
                    allow_redirects=False,
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _Cut(_said(error, self.patience)) from error
            async with response:
                location = response.headers.get("Location")
                if response.status in (301, 302, 303, 307, 308) and location:
                    following = urljoin(url, location)
                    if parts.scheme == "https" and urlsplit(following).scheme != "https":
                        raise Unreachable(f"{plain_url(url)} leads to {plain_url(following)}, which is not encrypted")
                    url = following
                    continue
                if not 200 <= response.status < 300:
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                        detail = (await response.content.read(500)).decode(errors="replace")
                        raise Answered(response.status, url, " ".join(detail.split()), response.headers)
                    raise Answered(response.status, url, "", response.headers)
                yield response
                return
        raise Unreachable(f"{plain_url(request.url)} leads on and on: more than {_MAX_REDIRECTS} redirects")

    async def _wait_or_give_up(self, error: SourceError, failures: int, url: str) -> None:
        patience = self.patience
        wait_s = min(patience.first_wait_s * 2 ** (failures - 1), patience.longest_wait_s)
        if isinstance(error, Answered):
            if error.status not in _TRY_AGAIN:
                raise error
            asked_s = _retry_after_s(error.headers.get("Retry-After", ""), self._clock)
            if asked_s is not None and asked_s > patience.longest_retry_after_s:
                raise Unreachable(f"{error}; it wants to be left alone for {asked_s:.0f} s") from error
            wait_s = wait_s if asked_s is None else asked_s
        if failures >= patience.attempts:
            text = str(error) if isinstance(error, Answered) else f"{url}: {error}"
            raise Unreachable(f"{text} ({failures} attempts)") from error
        await self._clock.sleep(wait_s)


class _Cut(SourceError):
    """The connection brought no more; another may."""


def plain_url(url: str) -> str:
    """The URL without what may be secret: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def explain(error: Answered, what: str, *, has_credentials: bool, remedy: str = "") -> SourceError:
    """The answer in terms of the model. `remedy` is how credentials are given to this kind of source."""
    if error.status in (401, 403):
        how = f"the credentials do not suffice ({error.status})" if has_credentials else f"it wants {remedy}"
        return Denied(f"{what}: {how}: {error.detail or 'no reason given'}")
    if error.status in (404, 410):
        return NotThere(f"{what}: there is no such thing ({error.status}): {error.detail or plain_url(str(error))}")
    if error.status == 412:
        return Changed(f"{what}: it has changed since it was listed; start again")
    return Unreachable(str(error))


def _range(start: int, end: int | None) -> str:
    return f"bytes={start}-{'' if end is None else end - 1}"


def _check_range(response: aiohttp.ClientResponse, url: str, offset: int, end: int | None, size: int | None) -> int:
    """How many bytes to skip. Raises Changed for an answer that is not about the range, or of another size."""
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        if size is not None and length.isdecimal() and int(length) != size:
            raise Changed(f"{plain_url(url)} has {length} bytes in place of {size}")
        return offset
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    bounds, _, whole = rest.partition("/")
    first = bounds.partition("-")[0]
    if unit != "bytes" or not first.isdecimal() or int(first) != offset:
        raise Changed(f"{plain_url(url)}: asked for bytes from {offset} on, got {rest or 'an unnamed range'}")
    if size is not None and whole.isdecimal() and int(whole) != size:
        raise Changed(f"{plain_url(url)} has {whole} bytes in place of {size}")
    return 0


async def _read_at_most(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    body = bytearray()
    try:
        while data := await response.content.read(_READ_BYTES):
            body += data
            if len(body) > limit_bytes:
                raise Unreachable(f"{plain_url(str(response.url))} answers with more than {limit_bytes} bytes")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _Cut(str(error) or type(error).__name__) from error
    return bytes(body)


def _retry_after_s(text: str, clock: Clock) -> float | None:
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - clock.wall_s()) if text else None
    except ValueError:
        return None


def _said(error: BaseException, patience: Patience) -> str:
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return str(error) or f"no byte within {patience.silence_s:g} s"
    return str(error) or type(error).__name__
