"""The server under examination: its adapter, its address, and the requests that checks send to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from fairlead.clock import SYSTEM, Clock
from fairlead.engines.calls import HttpCall
from fairlead.engines.conformance.outcome import CheckFailed, expect
from fairlead.engines.engine import Engine
from fairlead.engines.signals import EngineSignals
from fairlead.engines.spec import Adapter

POLL_S = 0.05

REQUEST_TIMEOUT_S = 120.0
"""For one request: a loaded CPU server takes its time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises CheckFailed."""
        try:
            decoded = json.loads(self.body)
        except ValueError as error:
            raise CheckFailed(f"HTTP {self.status} with a body that is no JSON: {self.body[:100]!r}") from error
        expect(isinstance(decoded, dict), f"HTTP {self.status} with JSON that is no object: {self.body[:100]!r}")
        return dict(decoded)


@dataclass(slots=True)
class Target:
    """A running server. `nonce` makes the prompts of this examination unlike all others, whose prefixes are cached."""

    engine: Engine
    url: str
    model: str
    nonce: str
    names: tuple[str, ...] = ()
    """Every name that must be listed; the model's own alone when empty."""
    adapter: Adapter | None = None
    """One to load and unload."""
    kv_endpoint: str = ""
    """Where the engine's cache events can be subscribed to, e.g. tcp://127.0.0.1:5557."""
    process_id: int | None = None
    """Of the server on this machine, for the drain check, which ends it."""
    patience_s: float = 10.0
    """How long counters and gauges may lag behind what happened."""
    clock: Clock = SYSTEM
    session: aiohttp.ClientSession = field(init=False)

    async def call(self, call: HttpCall) -> Reply:
        """Send a call as it is."""
        return await self.send(call.method, call.path, None if call.body is None else json.dumps(call.body).encode())

    async def get(self, path: str) -> Reply:
        return await self.send("GET", path)

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        return await self.send("POST", path, json.dumps(body).encode())

    async def send(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """One request and its whole answer. Raises CheckFailed when there is none."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self.session.request(method, self.url + path, data=body, headers=headers) as response:
                return Reply(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CheckFailed(f"{method} {path}: {error or type(error).__name__}") from error

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[str]]:
        """The data lines of a streamed answer, `[DONE]` among them; leaving early closes the connection."""
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        async with self.session.post(self.url + path, json=body) as response:
            expect(response.status == 200, f"POST {path}: HTTP {response.status}")
            kind = response.headers.get("Content-Type", "")
            expect(
                kind.startswith("text/event-stream"), f"POST {path}: a stream of type {kind!r}, not text/event-stream"
            )
            yield _data_lines(response)

    async def signals(self) -> EngineSignals:
        """What the metrics page says now. Raises CheckFailed."""
        base = self.url
        if self.engine.metrics_port is not None:
            base = f"{self.url.rpartition(':')[0]}:{self.engine.metrics_port}"
        try:
            async with self.session.get(base + self.engine.metrics_path) as response:
                expect(response.status == 200, f"GET {self.engine.metrics_path}: HTTP {response.status}")
                return self.engine.signals(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CheckFailed(f"GET {self.engine.metrics_path}: {error or type(error).__name__}") from error

    async def until(self, holds: Callable[[EngineSignals], bool], otherwise: str) -> EngineSignals:
        """Read the metrics until they are as they must be. Raises CheckFailed after `patience_s`."""
        deadline_s = self.clock.monotonic_s() + self.patience_s
        while True:
            signals = await self.signals()
            if holds(signals):
                return signals
            if self.clock.monotonic_s() >= deadline_s:
                raise CheckFailed(f"{otherwise} within {self.patience_s:g} s")
            await self.clock.sleep(POLL_S)

    def completion(self, prompt: str, max_tokens: int, model: str = "") -> dict[str, Any]:
        """A body for /v1/completions that makes exactly so many tokens, where the server knows `ignore_eos`."""
        return {"model": model or self.model, "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True}

    def prompt(self, purpose: str, words: int = 8) -> str:
        """A prompt that no other check and no other examination has a prefix of."""
        return " ".join(f"{self.nonce}-{purpose}-{i}" for i in range(words))


async def _data_lines(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in response.content:
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("data:"):
            yield text[5:].strip()


Run = Callable[[Target], Awaitable[str | None]]
"""A check: returns what it saw, or None; raises CheckFailed or NotSupported."""
