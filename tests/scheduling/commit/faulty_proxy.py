"""A way to a real API server that misbehaves on command: answers with errors, loses answers, or calls back."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from fairlead.kube.credentials import Credentials


@dataclass
class Seen:
    """A request that came by."""

    method: str
    path: str
    body: bytes

    @property
    def step(self) -> str:
        """The step of a commit that it is: finalizer, status, binding; empty for others."""
        if self.path.endswith("/binding"):
            return "binding"
        if "/resourceclaims/" in self.path and self.method == "PATCH":
            return "status" if self.path.endswith("/status") else "finalizer"
        return ""


Fault = Callable[[Seen], Awaitable[str]]
"""What happens to a request: "" (passed on), "500", "503", "429", "lost" (done, but its answer is lost), "refused" (cut
off before it is done), "budget" (as a disruption budget says no)."""


async def no_fault(seen: Seen) -> str:
    return ""


@dataclass
class Proxy:
    """Where it listens, what it does, and the writes that passed."""

    url: str = ""
    fault: Fault = no_fault
    writes: list[Seen] = field(default_factory=list)


@asynccontextmanager
async def proxied(credentials: Credentials, token: str, tls: ssl.SSLContext) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=0), auto_decompress=False, timeout=aiohttp.ClientTimeout(None)
    )

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.method, request.path, body)
        fault = "" if request.method == "GET" else await proxy.fault(seen)
        if fault == "budget":
            causes = [{"reason": "DisruptionBudget", "message": "The budget b needs 1 healthy pods"}]
            status = {"kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests"}
            return web.json_response({**status, "details": {"causes": causes}}, status=429)
        if fault.isdecimal():
            return web.Response(status=int(fault), text="the server is in trouble")
        if fault == "refused":
            raise ConnectionResetError
        headers = {k: v for k, v in request.headers.items() if k in ("Content-Type", "Accept")}
        headers["Authorization"] = f"Bearer {token}"
        async with session.request(
            request.method, credentials.server + request.path_qs, data=body or None, headers=headers
        ) as answer:
            if request.method != "GET" and answer.status < 300:
                proxy.writes.append(seen)
            if fault == "lost":
                await answer.read()
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            if "watch" not in request.query:
                kind = answer.headers.get("Content-Type", "application/json")
                return web.Response(status=answer.status, body=await answer.read(), headers={"Content-Type": kind})
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        await runner.cleanup()
        await session.close()
