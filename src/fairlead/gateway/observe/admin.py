"""The picker's own HTTP pages: metrics on a port, and everything for people on a unix socket in the data folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec
from aiohttp import web


class Pages(Protocol):
    """What the pages show."""

    def metrics_page(self) -> bytes:
        """Prometheus text."""
        ...

    def state(self) -> msgspec.Struct:
        """All pools and endpoints."""
        ...

    def decisions(self, pool: str, limit: int) -> list[msgspec.Struct]:
        """Short forms of the decisions kept, newest first; `pool` empty = of all."""
        ...

    def decision(self, name: str) -> msgspec.Struct | None:
        """A decision kept, by its request's id or the pick's; `last` is the newest."""
        ...

    def config(self) -> object:
        """The effective configuration of every pool."""
        ...


Access = Callable[[str], Awaitable[int]]
"""From the header Authorization to 200, 401 or 403."""


async def serve_metrics(
    pages: Pages,
    port: int,
    host: str = "127.0.0.1",
    access: Access | None = None,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve `/metrics` until cancelled, to those whom `access` lets; None = to all. `started` is called when it is
    there. Raises OSError when the port is taken."""
    app = web.Application()
    page = _metrics(pages)

    async def checked(request: web.Request) -> web.StreamResponse:
        status = await access(request.headers.get("Authorization", "")) if access is not None else 200
        return await page(request) if status == 200 else web.Response(status=status)

    app.router.add_get("/metrics", checked)
    await _serve(app, lambda runner: web.TCPSite(runner, host, port), started)


async def serve_admin(pages: Pages, socket: Path) -> None:
    """Serve all pages on a unix socket that only this user can open, until cancelled."""

    async def state(_: web.Request) -> web.Response:
        return _json(pages.state())

    async def decisions(request: web.Request) -> web.Response:
        limit = request.query.get("limit", "20")
        if not limit.isdecimal():
            return web.Response(status=400, text=f"limit is {limit!r}; it has to be a number")
        return _json(pages.decisions(request.query.get("pool", ""), int(limit)))

    async def decision(request: web.Request) -> web.Response:
        found = pages.decision(request.match_info["name"])
        return web.Response(status=404, text="no such decision is kept") if found is None else _json(found)

    async def config(_: web.Request) -> web.Response:
        return _json(pages.config())

    app = web.Application()
    app.router.add_get("/metrics", _metrics(pages))
    app.router.add_get("/state", state)
    app.router.add_get("/decisions", decisions)
    app.router.add_get("/decisions/{name:.+}", decision)
    app.router.add_get("/config", config)
    # Decisions tell of tenants and sessions, whatever this process lets others do with its files.
    await _serve(app, lambda runner: web.UnixSite(runner, str(socket)), lambda: socket.chmod(0o600))


def _metrics(pages: Pages) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def metrics(_: web.Request) -> web.StreamResponse:
        return web.Response(body=pages.metrics_page(), headers={"Content-Type": "text/plain; version=0.0.4"})

    return metrics


async def _serve(
    app: web.Application, site: Callable[[web.AppRunner], web.BaseSite], started: Callable[[], None] = lambda: None
) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await site(runner).start()
        started()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
