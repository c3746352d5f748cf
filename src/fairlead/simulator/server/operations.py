"""Routes that change or show how the server runs: sleep and wake, pause and resume, caches, aborts.

Reference: vLLM 0.32, `entrypoints/serve/dev` and `entrypoints/rl/online`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from fairlead.clock import Clock
from fairlead.simulator.server.bodies import fields as f
from fairlead.simulator.server.bodies.errors import ApiError
from fairlead.simulator.server.bodies.http_body import json_response
from fairlead.simulator.server.driver import Driver
from fairlead.simulator.server.respond import Responder

_POLL_S = 0.01
_LEVEL = f.integer(ge=0, le=2)
_MODE = f.literal("abort", "wait", "keep")
_IDS = f.optional(f.array(f.text))


class Operations:
    """Handlers of those routes. `kv_sources` is the body of /kv_event_sources."""

    def __init__(
        self,
        driver: Driver,
        responder: Responder,
        clock: Clock,
        *,
        describe: Callable[[], Mapping[str, Any]],
        world_size: int,
        kv_sources: Mapping[str, Any],
    ) -> None:
        self._driver = driver
        self._responder = responder
        self._clock = clock
        self._describe = describe
        self._world_size = world_size
        self._kv_sources = kv_sources
        self._is_on_pause = False

    def add_routes(self, app: web.Application) -> None:
        for path, handler in {
            "/sleep": self._sleep,
            "/wake_up": self._wake,
            "/pause": self._pause,
            "/resume": self._resume,
            "/abort_requests": self._abort,
            "/reset_prefix_cache": self._reset_prefix_cache,
            "/reset_mm_cache": self._nothing,
            "/reset_encoder_cache": self._nothing,
        }.items():
            app.router.add_post(path, handler)
        for path, handler in {
            "/is_sleeping": self._is_sleeping,
            "/is_paused": self._is_paused,
            "/server_info": self._server_info,
            "/kv_event_sources": self._sources,
            "/get_world_size": self._size,
        }.items():
            app.router.add_get(path, handler, allow_head=False)

    async def _sleep(self, http: web.Request) -> web.Response:
        level = int(f.checked(_LEVEL, http.query.get("level", "1"), "query.level"))
        mode = f.checked(_MODE, http.query.get("mode", "abort"), "query.mode")
        # Who comes meanwhile waits: under a steady load there would be no end to those who run.
        self._responder.may_start.clear()
        try:
            await self._settle(mode)
        finally:
            if not self._is_on_pause:
                self._responder.may_start.set()
        for index, rank in enumerate(self._driver.ranks):
            self._driver.apply(index, lambda engine, now_s: engine.sleep(now_s))
            rank.sleep_level = level
        return json_response({"status": "sleeping", "level": level})

    async def _wake(self, http: web.Request) -> web.Response:
        tags = http.query.getall("tags", []) or None
        ranks = self._driver.ranks
        if any(rank.engine.is_sleeping for rank in ranks):
            for index in range(len(ranks)):
                self._driver.apply(index, lambda engine, now_s: engine.wake(now_s))
            await self._clock.sleep(max(rank.engine.settings.wake_s for rank in ranks))
            self._driver.catch_up()
        for rank in ranks:
            rank.sleep_level = 0
        return json_response({"status": "awake", "tags": tags})

    async def _is_sleeping(self, _: web.Request) -> web.Response:
        return json_response({"is_sleeping": any(rank.sleep_level for rank in self._driver.ranks)})

    async def _pause(self, http: web.Request) -> web.Response:
        mode = f.checked(_MODE, http.query.get("mode", "abort"), "query.mode")
        self._is_on_pause = True
        self._responder.may_start.clear()
        await self._settle(mode)
        if mode == "keep":
            # The engine model has one way to stand still, which gives up the cache; those who run start over.
            for index in range(len(self._driver.ranks)):
                self._driver.apply(index, lambda engine, now_s: engine.sleep(now_s))
        return json_response({"status": "paused"})

    async def _resume(self, _: web.Request) -> web.Response:
        for index, rank in enumerate(self._driver.ranks):
            if rank.engine.is_sleeping and not rank.sleep_level:
                self._driver.apply(index, lambda engine, now_s: engine.wake(now_s))
        self._is_on_pause = False
        self._responder.may_start.set()
        return json_response({"status": "resumed"})

    async def _is_paused(self, _: web.Request) -> web.Response:
        return json_response({"is_paused": self._is_on_pause})

    async def _settle(self, mode: str) -> None:
        """What happens to the requests that run."""
        if mode == "abort":
            for rank in range(len(self._driver.ranks)):
                self._driver.end_all(rank)
        elif mode == "wait":
            while self._driver.num_live:
                await self._clock.sleep(_POLL_S)

    async def _abort(self, http: web.Request) -> web.Response:
        try:
            body = await http.json()
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "Invalid JSON format", type="Bad Request") from error
        if not isinstance(body, dict):
            raise ApiError(400, "Request body must be a JSON object", type="Bad Request")
        wanted = f.checked(_IDS, body.get("request_ids"), "body.request_ids") or list(self._responder.live)
        for name in wanted:
            for lives in list(self._responder.live.get(name, ())):
                for live in list(lives):
                    self._driver.end(live)
        return json_response({"status": "aborted", "aborted": len(wanted)})

    async def _reset_prefix_cache(self, http: web.Request) -> web.Response:
        for name in ("reset_running_requests", "reset_external"):
            f.checked(f.boolean, http.query.get(name, "false"), f"query.{name}")
        done = [
            bool(self._driver.apply(index, lambda engine, now_s: engine.reset_prefix_cache(now_s)))
            for index in range(len(self._driver.ranks))
        ]
        return json_response({"success": all(done)})

    async def _nothing(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _server_info(self, _: web.Request) -> web.Response:
        return json_response(self._describe())

    async def _sources(self, _: web.Request) -> web.Response:
        return json_response(self._kv_sources)

    async def _size(self, _: web.Request) -> web.Response:
        return json_response({"world_size": self._world_size})
