"""One request from its composition to the last byte of its answer."""

from __future__ import annotations

import asyncio
import random
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http import HttpVersion11

from fairlead.clock import Clock
from fairlead.simulator.engine import RequestTooLong, pick_rank
from fairlead.simulator.profile import FrontendCost
from fairlead.simulator.server.answers.answer import Answer, AnswerHead
from fairlead.simulator.server.bodies.errors import ApiError
from fairlead.simulator.server.bodies.http_body import JSON
from fairlead.simulator.server.composer import Composed
from fairlead.simulator.server.driver import Driver, Live
from fairlead.simulator.server.failures import Failure, Fate, draw_fate
from fairlead.simulator.server.faulty_stream import FaultyStream, FaultyWhole, crash
from fairlead.simulator.server.handoff import Handoff
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.stream import Stream, Whole

RANK_HEADER = "X-data-parallel-rank"
REQUEST_ID_HEADER = "X-Request-Id"

_SSE = {"Content-Type": "text/event-stream; charset=utf-8"}


class Responder:
    """Runs composed requests on the engines and sends their answers."""

    def __init__(
        self,
        driver: Driver,
        clock: Clock,
        *,
        frontend: FrontendCost,
        handoff: Handoff,
        fingerprint: str,
        failures: tuple[Failure, ...] = (),
        seed: int = 0,
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._frontend = frontend
        self._handoff = handoff
        self._fingerprint = fingerprint
        self._failures = failures
        self._generator = random.Random(seed)
        self.may_start = asyncio.Event()
        self.may_start.set()
        """Cleared while generation is paused: requests wait before they reach an engine."""
        self.live: dict[str, list[list[Live]]] = {}
        """Request id -> the sequences of every request that came with it."""

    async def fate(self, wished: tuple[Failure, ...]) -> Fate:
        """What goes wrong with the next request, with its delay or refusal done. Raises ApiError."""
        if not self._failures and not wished:
            return _WELL
        fate = draw_fate((*self._failures, *wished), self._generator)
        if fate.latency_s:
            await self._clock.sleep(fate.latency_s)
        crash(fate, 0)
        if fate.hang:
            await asyncio.get_running_loop().create_future()
        if fate.status:
            raise ApiError(fate.status, "failure on purpose", type="InternalServerError")
        return fate

    async def respond(
        self, http: web.Request, composed: Composed, *, prefix: str, fate: Fate, opens_at_once: bool = False
    ) -> web.StreamResponse:
        """The whole exchange. Raises ApiError as long as nothing was sent."""
        rank = self._rank(http)
        for request in composed.requests:
            self._check(request, rank)
        request_id = http.headers.get(REQUEST_ID_HEADER) or composed.request_id or secrets.token_hex(8)
        full_id = request_id if request_id.startswith(prefix) else prefix + request_id
        for number, request in enumerate(composed.requests):
            request.id = full_id if len(composed.requests) == 1 else f"{full_id}-{number}"
        await self._handoff.prepare(composed)
        frontend = self._frontend
        delay_s = frontend.request_s + frontend.prompt_token_s * composed.prompt_tokens
        if delay_s:
            await self._clock.sleep(delay_s)
        await self.may_start.wait()
        head = AnswerHead(full_id, int(self._clock.wall_s()), composed.model, self._fingerprint)
        answer = composed.answer_for(head)
        lives: list[Live] = []
        self.live.setdefault(full_id, []).append(lives)
        try:
            if composed.options.stream:
                return await self._stream(http, composed, answer, rank, lives, fate, opens_at_once)
            return await self._whole(composed, answer, rank, lives, fate)
        finally:
            self._forget(full_id, lives)
            for live in lives:
                self._driver.abort(live)

    def _forget(self, full_id: str, lives: list[Live]) -> None:
        left = [each for each in self.live[full_id] if each is not lives]
        if left:
            self.live[full_id] = left
        else:
            del self.live[full_id]

    async def run(self, requests: Sequence[LiveRequest], rank: int) -> None:
        """Compute requests whose answer is not tokens. Raises ApiError."""
        for request in requests:
            self._check(request, rank)
        whole = Whole(len(requests))
        lives = [self._driver.submit(request, rank, whole) for request in requests]
        try:
            await whole.over
        finally:
            for live in lives:
                self._driver.abort(live)

    def least_loaded_rank(self) -> int:
        return pick_rank([rank.engine for rank in self._driver.ranks])

    async def _whole(
        self, composed: Composed, answer: Answer, rank: int, lives: list[Live], fate: Fate
    ) -> web.Response:
        whole = Whole(len(composed.requests)) if fate is _WELL else FaultyWhole(len(composed.requests))
        if isinstance(whole, FaultyWhole):
            whole.fate = fate
        lives += [self._driver.submit(request, rank, whole) for request in composed.requests]
        await whole.over
        self._note_cached(answer, lives)
        self._handoff.finished(composed, lives, answer)
        return web.Response(body=answer.whole(), content_type=JSON)

    async def _stream(
        self,
        http: web.Request,
        composed: Composed,
        answer: Answer,
        rank: int,
        lives: list[Live],
        fate: Fate,
        opens_at_once: bool,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=_SSE)
        chunked = http.version >= HttpVersion11
        if chunked:
            response.enable_chunked_encoding()
        writer: Any = await response.prepare(http)
        transport = http.transport
        if transport is None or writer is None:
            return response
        writer.send_headers()
        kind = Stream if fate is _WELL else FaultyStream
        stream = kind(transport, answer, len(composed.requests), chunked=chunked)
        if isinstance(stream, FaultyStream):
            stream.fate = fate
        if opens_at_once:
            stream.open()
        lives += [self._driver.submit(request, rank, stream) for request in composed.requests]
        with suppress(ConnectionError):
            await stream.over
            self._note_cached(answer, lives)
            self._handoff.finished(composed, lives, answer)
            await stream.close(writer.drain)
            await response.write_eof()
        return response

    def _check(self, request: LiveRequest, rank: int) -> None:
        try:
            self._driver.ranks[rank].engine.check(request)
        except RequestTooLong as error:
            raise ApiError(400, str(error)) from error

    def _rank(self, http: web.Request) -> int:
        ranks = len(self._driver.ranks)
        wished = http.headers.get(RANK_HEADER)
        try:
            rank = None if wished is None else int(wished)
        except ValueError:
            rank = None
        if rank is None:
            return self.least_loaded_rank() if ranks > 1 else 0
        if not 0 <= rank < ranks:
            raise ApiError(400, f"data_parallel_rank {rank} is out of range [0, {ranks}).")
        return rank

    def _note_cached(self, answer: Answer, lives: Sequence[Live]) -> None:
        answer.cached_tokens = sum(live.sequence.cached_tokens for live in lives[:: max(1, lives[0].request.n)])


_WELL = Fate()


def fingerprint(*parts: object) -> str:
    """Of a configuration, as `system_fingerprint` shows it."""
    return f"{zlib.crc32(repr(parts).encode()):08x}"
