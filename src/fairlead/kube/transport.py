"""HTTP to an API server: one pooled session, typed errors, and retries where a retry cannot do harm.

A request is sent again when the server asked for it (429 and 503 with `Retry-After`: it did nothing), when the
connection could not be made, when credentials were renewed after 401, and, for reads only, when the connection broke.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
from yarl import URL

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.connections import CannotConnect, Connections, WholeAnswer
from fairlead.kube.credentials import Credentials
from fairlead.kube.errors import ApiError, from_status

_LOG = logging.getLogger("fairlead.kube")
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Shorter than any server keeps an idle connection, so that a write never meets one that is just being closed.
_IDLE_S: Final = 30.0
_LOOPBACK: Final = ("127.", "localhost", "[::1]", "::1")

Params = Mapping[str, str] | Sequence[tuple[str, str]]


class Unreachable(ConnectionError):
    """The API server could not be reached, or the connection broke before an answer; the cause is chained."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a request is tried again. Delays double from `first_delay_s`, with jitter."""

    attempts: int = 5
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0
    max_retry_after_s: float = 30.0

    def delay_s(self, attempt: int, retry_after_s: float | None, jitter: float) -> float:
        """Seconds before the try that follows `attempt` (from 0). `jitter` is a random number in [0, 1)."""
        if retry_after_s is not None:
            return min(retry_after_s, self.max_retry_after_s) * (1 + 0.1 * jitter)
        return min(self.first_delay_s * 2.0**attempt, self.max_delay_s) * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: status code, headers, body."""

    code: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def default_user_agent() -> str:
    try:
        return f"fairlead/{version('fairlead')}"
    except PackageNotFoundError:
        return "fairlead"


@lru_cache(maxsize=1024)
def log_warning(text: str) -> None:
    """What happens to warnings of the API server (deprecated versions, unknown fields) unless told otherwise: each is
    logged once, because a watch or a control loop meets the same one again and again."""
    _LOG.warning("API server: %s", text)


class Transport:
    """Requests to one API server. Open it with `async with`, or call `close` in the end."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        on_warning: Callable[[str], None] = log_warning,
        clock: Clock = SYSTEM,
    ) -> None:
        self._credentials = credentials
        self._base = URL(credentials.server)
        self._timeout_s = timeout_s
        self._retry = retry or RetryPolicy()
        self._on_warning = on_warning
        self._clock = clock
        self._random = random.Random()
        self._session: aiohttp.ClientSession | None = None
        # What aiohttp can do beyond it (proxies) is not needed for most servers, and costs most of a small request.
        self._connections = None if credentials.proxy else _connections_to(self._base)
        self._default_tls: ssl.SSLContext | None = None
        self._headers = {"User-Agent": user_agent or default_user_agent(), "Accept": "application/json"}
        # Compression costs more than it saves when no network lies between.
        is_local = (urlsplit(credentials.server).hostname or "").startswith(_LOOPBACK)
        self._headers["Accept-Encoding"] = "identity" if is_local else "gzip"

    async def close(self) -> None:
        if self._connections is not None:
            self._connections.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """The whole answer. Raises an ApiError for any code outside 2xx, Unreachable without an answer."""
        limit = aiohttp.ClientTimeout(total=timeout_s or self._timeout_s)
        response = await self._send(method, path, params, body, content_type, accept, limit, is_whole=True)
        if isinstance(response, WholeAnswer):
            return Answer(response.status, response.headers, response.body)
        try:
            return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: the answer broke off: {_reason(error)}") from error
        finally:
            response.release()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        timeout_s: float | None = None,
        head_timeout_s: float | None = None,
        accept: str | None = None,
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The answer's body as it arrives, for as long as `timeout_s` says (without end where None).

        The answer must begin within `head_timeout_s`, where given.
        """
        limit = aiohttp.ClientTimeout(total=timeout_s, sock_connect=self._timeout_s)
        try:
            async with asyncio.timeout(head_timeout_s):
                response = await self._send(method, path, params, None, "", accept, limit)
        except TimeoutError as error:
            raise Unreachable(f"{method} {path}: no answer in time") from error
        assert isinstance(response, aiohttp.ClientResponse)
        try:
            yield response.content
        finally:
            # A body that was not read to its end makes the connection useless; release() then closes it.
            response.release()

    async def websocket(self, path: str, params: Params, protocols: Sequence[str]) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket to a streaming subresource (`exec`, `attach`, `portforward`)."""
        session = self._open_session()
        url = self._base.with_path(self._base.path.rstrip("/") + path, encoded=True).with_query(list(_pairs(params)))
        try:
            return await session.ws_connect(
                url,
                protocols=protocols,
                headers=await self._request_headers("", None),
                ssl=self._credentials.tls or True,
                server_hostname=self._credentials.tls_server_name,
                proxy=self._credentials.proxy,
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=self._timeout_s),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise from_status(_synthetic_status(error.status, f"{path}: {error.message}", None)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{path}: {_reason(error)}") from error

    async def _send(
        self,
        method: str,
        path: str,
        params: Params,
        body: bytes | None,
        content_type: str,
        accept: str | None,
        limit: aiohttp.ClientTimeout,
        *,
        is_whole: bool = False,
    ) -> aiohttp.ClientResponse | WholeAnswer:
        response: aiohttp.ClientResponse | WholeAnswer
        renewed = False
        for attempt in range(self._retry.attempts):
            is_last = attempt + 1 == self._retry.attempts
            retry_after_s = None
            try:
                headers = await self._request_headers(content_type if body is not None else "", accept)
                if is_whole and self._connections is not None:
                    response = await self._whole(self._connections, method, path, params, body, headers, limit)
                else:
                    response = await self._begun(method, path, params, body, headers, limit)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if is_last or not _may_resend(method, error):
                    raise Unreachable(f"{method} {self._base.origin()}{path}: {_reason(error)}") from error
            else:
                if response.status < 300:
                    self._report_warnings(response)
                    return response
                failure = await _read_error(response, method, path)
                if failure.http_code == 401 and not renewed and await self._credentials.authorization.refused():
                    renewed = True
                    continue
                retry_after_s = _retry_after_s(response)
                if is_last or failure.http_code not in (429, 503) or retry_after_s is None:
                    raise failure
            await self._clock.sleep(self._retry.delay_s(attempt, retry_after_s, self._random.random()))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _begun(
        self,
        method: str,
        path: str,
        params: Params,
        body: bytes | None,
        headers: Mapping[str, str],
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """An answer of which the head has arrived."""
        url = self._base.with_path(self._base.path.rstrip("/") + path, encoded=True).with_query(list(_pairs(params)))
        return await self._open_session().request(
            method,
            url,
            data=body,
            headers=headers,
            timeout=limit,
            ssl=self._credentials.tls or True,
            server_hostname=self._credentials.tls_server_name,
            proxy=self._credentials.proxy,
        )

    async def _whole(
        self,
        connections: Connections,
        method: str,
        path: str,
        params: Params,
        body: bytes | None,
        headers: Mapping[str, str],
        limit: aiohttp.ClientTimeout,
    ) -> WholeAnswer:
        """An answer that has arrived to its end."""
        query = urlencode(_pairs(params))
        target = self._base.raw_path.rstrip("/") + path + (f"?{query}" if query else "")
        tls = None
        if self._base.scheme == "https":
            tls = self._credentials.tls or self._default_tls
            if tls is None:
                tls = self._default_tls = ssl.create_default_context()
        async with asyncio.timeout(limit.total):
            return await connections.send(
                method,
                target,
                {**self._headers, **headers},
                body,
                tls=tls,
                server_name=self._credentials.tls_server_name,
            )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit: every watch holds a connection, and a full pool would stop all other requests.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, socket_factory=_keepalive_socket)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=2**18,
                skip_auto_headers=("Content-Type",),
            )
        return self._session

    async def _request_headers(self, content_type: str, accept: str | None) -> dict[str, str]:
        headers: dict[str, str] = {}
        authorization = await self._credentials.authorization.header()
        if authorization:
            headers["Authorization"] = authorization
        if content_type:
            headers["Content-Type"] = content_type
        if accept:
            headers["Accept"] = accept
        return headers

    def _report_warnings(self, response: aiohttp.ClientResponse | WholeAnswer) -> None:
        for header in response.headers.getall("Warning", ()):
            for match in _WARNING.finditer(header):
                self._on_warning(match[1].replace('\\"', '"').replace("\\\\", "\\"))


def _connections_to(base: URL) -> Connections:
    return Connections(base.host or "", base.port or (443 if base.scheme == "https" else 80), idle_s=_IDLE_S)


def _pairs(params: Params) -> Sequence[tuple[str, str]]:
    return list(params.items()) if isinstance(params, Mapping) else params


def _keepalive_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within a minute when the peer is gone, as an idle watch would otherwise never."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def _may_resend(method: str, error: BaseException) -> bool:
    if isinstance(
        error,
        aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | aiohttp.InvalidURL | ssl.SSLError,
    ):
        return False
    if isinstance(error, aiohttp.ClientConnectorError | CannotConnect):
        return True
    return method in _SAFE_METHODS and not isinstance(error, TimeoutError)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error)
    if isinstance(error, CannotConnect):
        return error.strerror or str(error)
    return str(error) or type(error).__name__


def _retry_after_s(response: aiohttp.ClientResponse | WholeAnswer) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


async def _rest_of(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer, as far as it can be had."""
    try:
        return await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return b""
    finally:
        response.release()


async def _read_error(response: aiohttp.ClientResponse | WholeAnswer, method: str, path: str) -> ApiError:
    """The error of an answer that is no success, from its Status or, without one, from its code and text."""
    body = response.body if isinstance(response, WholeAnswer) else await _rest_of(response)
    try:
        status = msgspec.json.decode(body)
    except msgspec.DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return from_status({"code": response.status, **status})
    text = body[:1024].decode(errors="replace").strip() or response.reason or ""
    return from_status(_synthetic_status(response.status, f"{method} {path}: {text}", _retry_after_s(response)))


def _synthetic_status(code: int, message: str, retry_after_s: float | None) -> dict[str, Any]:
    details = {} if retry_after_s is None else {"details": {"retryAfterSeconds": int(retry_after_s)}}
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, **details}
