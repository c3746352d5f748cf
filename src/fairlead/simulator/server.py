"""The simulated engine behind vLLM's HTTP interface.

On SIGTERM it drains: /health turns 503, requests already here finish, new ones are still taken for a moment (whoever
routes to it needs that long to notice) and then refused, and the process ends when the last one is done.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress

import msgspec
from aiohttp import web

from fairlead import __version__
from fairlead.clock import SYSTEM, Clock
from fairlead.simulator.answers import DONE, Answer
from fairlead.simulator.paced import EngineSettings, SimulatedEngine
from fairlead.simulator.requests import Generation, RequestError, Served, parse_chat, parse_completion

LAME_DUCK_S = 0.5
"""How long a draining engine still takes new requests."""

MAX_BODY_BYTES = 256 * 1024 * 1024

_JSON = "application/json"
_SSE_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class EngineServer:
    """HTTP handlers around one `SimulatedEngine`, and its draining."""

    def __init__(self, models: Sequence[str], settings: EngineSettings, clock: Clock = SYSTEM) -> None:
        self._engine = SimulatedEngine(models[0], settings, clock)
        self._served = Served(tuple(models), settings.max_model_len)
        self._clock = clock
        self._started_s = int(clock.wall_s())
        self._instance = secrets.token_hex(8)
        self._sequence = itertools.count(1)
        self._in_flight = 0
        self._draining = False
        self._refusing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ping", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def drain(self, timeout_s: float) -> None:
        """Finish what is in flight, for at most `timeout_s` seconds."""
        self._draining = True
        began_s = self._clock.monotonic_s()
        await self._clock.sleep(min(LAME_DUCK_S, timeout_s))
        self._refusing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, began_s + timeout_s - self._clock.monotonic_s())):
                await self._idle.wait()

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, parse_chat, chat=True)

    async def _completion(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, parse_completion, chat=False)

    async def _answer(
        self, http: web.Request, parse: Callable[[bytes, Served], Generation], *, chat: bool
    ) -> web.StreamResponse:
        if self._refusing:
            refusal = RequestError(503, "the engine is shutting down", type="ServiceUnavailableError")
            return web.Response(status=503, body=refusal.body, content_type=_JSON, headers={"Connection": "close"})
        self._in_flight += 1
        self._idle.clear()
        try:
            request = parse(await http.read(), self._served)
            answer = Answer(
                request,
                chat=chat,
                created_s=int(self._clock.wall_s()),
                identity=f"{self._instance}{next(self._sequence):08x}",
            )
            if request.stream:
                return await self._stream(http, request, answer)
            return await self._whole(request, answer)
        except RequestError as error:
            return web.Response(status=error.code, body=error.body, content_type=_JSON)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _whole(self, request: Generation, answer: Answer) -> web.Response:
        texts: list[str] = []
        async with aclosing(self._engine.generate(request)) as pieces:
            async for piece in pieces:
                texts.append(piece.text)
                last = piece
        return web.Response(body=answer.whole("".join(texts), last), content_type=_JSON)

    async def _stream(self, http: web.Request, request: Generation, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(headers=_SSE_HEADERS)
        with suppress(ConnectionError):
            async with aclosing(self._engine.generate(request)) as pieces:
                async for piece in pieces:
                    event = answer.event(piece)
                    if not response.prepared:
                        await response.prepare(http)
                        event = answer.first_event() + event
                    if piece.finish_reason:
                        event += (answer.usage_event(piece.tokens) if request.include_usage else b"") + DONE
                    if event:
                        await response.write(event)
            await response.write_eof()
        return response

    async def _models(self, _: web.Request) -> web.Response:
        cards = [
            {
                "id": name,
                "object": "model",
                "created": self._started_s,
                "owned_by": "fairlead",
                "root": self._served.models[0],
                "parent": None,
                "max_model_len": self._served.max_model_len,
            }
            for name in self._served.models
        ]
        return web.Response(body=msgspec.json.encode({"object": "list", "data": cards}), content_type=_JSON)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=503 if self._draining else 200)

    async def _version(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode({"version": f"fairlead-{__version__}"}), content_type=_JSON)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._engine.metrics_page(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def run(
    host: str,
    port: int,
    model: str,
    *,
    aliases: Sequence[str] = (),
    settings: EngineSettings | None = None,
    drain_timeout_s: float = 25.0,
    on_ready: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `on_ready` gets the port, which matters when `port` is 0.

    Raises OSError when the address cannot be bound.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    server = EngineServer((model, *aliases), settings or EngineSettings())
    runner = web.AppRunner(server.application(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024, reuse_address=True)
    try:
        await site.start()
        if on_ready is not None:
            await on_ready(int(runner.addresses[0][1]))
        await stopping.wait()
        await server.drain(drain_timeout_s)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    import sys

    from fairlead.simulator.__main__ import main

    sys.exit(main())
