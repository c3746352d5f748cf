"""A server of files that can be as bad as servers get: slow, cutting, busy, lying, without ranges; and what it was
asked."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Manners:
    """How it behaves. `cut_after`: bytes of an answer, then the connection is gone. `busy`: answers with 429 first,
    with Retry-After where that is set. `silent_after`: bytes, then nothing more comes. `chunk_s`: waits between
    64 KiB."""

    cut_after: int | None = None
    cuts: int = 1_000_000
    busy: int = 0
    retry_after: str = ""
    silent_after: int | None = None
    chunk_s: float = 0.0
    ranges: bool = True
    lies: int = 0
    """Answers whose first byte is another one."""
    wrong_range: bool = False
    status: int = 0
    """In place of any answer."""


@dataclass
class FileServer:
    """`files`: path -> content. Counts bytes sent and requests by path."""

    files: dict[str, bytes] = field(default_factory=dict)
    manners: Manners = field(default_factory=Manners)
    sent: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    url: str = ""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a first byte has been sent."""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path, manners = request.path, self.manners
        self.asked[path] += 1
        self.headers.append(dict(request.headers))
        if manners.status:
            return web.Response(status=manners.status, text="as told")
        if manners.busy > 0:
            manners.busy -= 1
            return web.Response(status=429, headers={"Retry-After": manners.retry_after} if manners.retry_after else {})
        if path in self.redirects:
            return web.Response(status=302, headers={"Location": self.redirects[path]})
        content = self.files.get(path)
        if content is None:
            return web.Response(status=404, text="nothing here")
        return await self._send(request, content)

    async def _send(self, request: web.Request, content: bytes) -> web.StreamResponse:
        manners = self.manners
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        wanted = request.headers.get("If-Match")
        if wanted and wanted != tag:
            return web.Response(status=412)
        found = _RANGE.match(request.headers.get("Range", "")) if manners.ranges else None
        start = int(found[1]) if found else 0
        end = int(found[2]) + 1 if found and found[2] else len(content)
        body = content[start : min(end, len(content))]
        headers = {"ETag": tag, "Content-Length": str(len(body))}
        if found:
            shown = start + 7 if manners.wrong_range else start
            headers["Content-Range"] = f"bytes {shown}-{shown + len(body) - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if found else 200, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        if manners.lies > 0 and body:
            manners.lies -= 1
            body = bytes([body[0] ^ 1]) + body[1:]
        await self._write(request, response, body)
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, body: bytes) -> None:
        manners = self.manners
        limit = len(body)
        cuts = manners.cut_after is not None and manners.cuts > 0 and manners.cut_after < limit
        if cuts and manners.cut_after is not None:
            manners.cuts -= 1
            limit = manners.cut_after
        for offset in range(0, limit, 65536):
            part = body[offset : min(offset + 65536, limit)]
            if manners.silent_after is not None and offset >= manners.silent_after:
                await self.stopped.wait()
            await response.write(part)
            self.sent += len(part)
            self.began.set()
            if manners.chunk_s:
                await asyncio.sleep(manners.chunk_s)
        if cuts and request.transport is not None:
            request.transport.close()


@asynccontextmanager
async def serving(server: FileServer, *routes: web.RouteDef) -> AsyncIterator[FileServer]:
    """The server on loopback; further routes come before its files."""
    app = web.Application()
    app.add_routes([*routes, web.route("*", "/{path:.*}", server.answer)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = str(site.name).rstrip("/")
    port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        server.stopped.set()
        await runner.cleanup()
