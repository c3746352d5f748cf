"""One request of the gateway itself to an engine, with everything that can go wrong told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import aiohttp

_MAX_ANSWER_BYTES: Final = 64 << 20
"""TensorRT-LLM's answer has the token ids of the prompt."""
_KEPT_S: Final = 3.0
"""Idle connections; uvicorn, under most engines, closes its own after 5 s."""
_SHOWN: Final = 200
_PASSING: Final = frozenset((408, 425, 429))
"""Statuses below 500 that say nothing about the request itself."""


_LEFT_OUT: Final = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "content-encoding", "expect")
)
"""Headers that are the business of one connection, or of the client's alone."""


class LegFailed(Exception):
    """This endpoint did not do it; another may. `refused` when it took no connection."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class LegRefused(Exception):
    """The engine objects to the request; every other one would too."""


@dataclass(slots=True)
class Attempt:
    """One endpoint asked once."""

    address: str
    path: str
    headers: Mapping[str, str]
    sent: asyncio.Event | None = None
    """Set when the whole request is on its way."""
    failure: LegFailed | LegRefused | None = None


class Poster:
    """Connections to engines, kept between requests."""

    def __init__(self, connect_s: float, answer_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=answer_s, sock_connect=connect_s)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def answer(self, attempt: Attempt, body: bytes, is_alive: Callable[[], bool], watch_s: float) -> bytes:
        """The body of a good answer. An endpoint that is found dead elsewhere is not waited for to the end.

        Raises LegFailed and LegRefused.
        """
        task = asyncio.ensure_future(self._answer(attempt, body))
        was_alive = is_alive()
        try:
            while True:
                done, _ = await asyncio.wait((task,), timeout=watch_s)
                if done:
                    return task.result()
                if was_alive and not is_alive():
                    raise LegFailed("it was found dead meanwhile")
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    async def _answer(self, attempt: Attempt, body: bytes) -> bytes:
        try:
            try:
                return await self._post(attempt, body)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # Perhaps a kept connection that the engine closed at this moment; an engine that died refuses the next.
                return await self._post(attempt, body)
        except TimeoutError as error:
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            text = "no connection in time" if connecting else "no answer in time"
            raise LegFailed(text, refused=connecting) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            refused = isinstance(error, aiohttp.ClientConnectorError)
            raise LegFailed(f"{type(error).__name__}: {error}", refused=refused) from error

    async def _post(self, attempt: Attempt, body: bytes) -> bytes:
        async with self._open().post(
            f"http://{attempt.address}{attempt.path}", data=body, headers=attempt.headers, timeout=self._timeout,
            allow_redirects=False, trace_request_ctx=attempt.sent,
        ) as response:  # fmt: skip
            answer = await _read(response)
            if response.status == 200:
                return answer
            text = f"{response.status} {answer[:_SHOWN].decode(errors='replace')}"
            if response.status >= 500 or response.status in _PASSING:
                raise LegFailed(text)
            raise LegRefused(text)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_chunk_sent.append(_note_sent)
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S)
            self._session = aiohttp.ClientSession(
                connector=connector, trace_configs=[trace], cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
                skip_auto_headers=("User-Agent",),
            )  # fmt: skip
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > _MAX_ANSWER_BYTES:
            raise LegFailed(f"its answer is larger than {_MAX_ANSWER_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def _note_sent(session: aiohttp.ClientSession, context: SimpleNamespace, _: Any) -> None:
    if (sent := context.trace_request_ctx) is not None:
        sent.set()


def sent_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Of the client's headers, those that a leg takes along."""
    kept = {name: value for name, value in headers.items() if name not in _LEFT_OUT and not name.startswith(":")}
    return {**kept, "content-type": "application/json"}
