"""Calls to running engines: load, unload, what is loaded, what is in use. Everything is bounded in time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from fairlead.engines import Adapter, Engine, EngineSignals
from fairlead.engines.calls import CallOutcome, HttpCall
from fairlead.engines.spec import EngineSpecError

LOAD_TIMEOUT_S: Final = 120.0
"""Of a load: weights are read from a disk, or by the engine from a hub."""
TIMEOUT_S: Final = 10.0


class CallFailed(Exception):
    """An engine did not answer, or not as it should; the text says what happened."""


@dataclass(frozen=True, slots=True)
class EngineAt:
    """A running engine. `url` without a path."""

    pod: str
    engine: Engine
    url: str


class EngineCalls:
    """Holds the connections; close it in the end."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def load(self, at: EngineAt, name: str, source: str) -> CallOutcome:
        """Load an adapter. Raises CallFailed where the engine did not answer."""
        api = at.engine.adapters
        if api is None:
            return CallOutcome("failed", f"{at.engine.runtime} loads no adapters while it runs")
        try:
            call = api.load(Adapter(name, source))
        except EngineSpecError as error:
            return CallOutcome("failed", str(error))
        status, body = await self._send(at, call, LOAD_TIMEOUT_S)
        return api.loaded(status, body)

    async def unload(self, at: EngineAt, name: str) -> CallOutcome:
        """Unload an adapter. Raises CallFailed where the engine did not answer."""
        api = at.engine.adapters
        if api is None:
            return CallOutcome("unchanged")
        status, body = await self._send(at, api.unload(name), TIMEOUT_S)
        return api.unloaded(status, body)

    async def listed(self, at: EngineAt) -> dict[str, bool] | None:
        """Names that the engine answers to, and whether it says that they are adapters (of a model that they name as
        their parent); None where it has no such page. Raises CallFailed."""
        status, body = await self._send(at, HttpCall("GET", "/v1/models"), TIMEOUT_S)
        if status != 200:
            return None
        try:
            return {str(card["id"]): bool(card.get("parent")) for card in json.loads(body)["data"]}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    async def signals(self, at: EngineAt) -> EngineSignals | None:
        """What the engine says of itself; None where it has no such page. Raises CallFailed."""
        port = at.engine.metrics_port
        url = at.url if port is None else f"{at.url.rpartition(':')[0]}:{port}"
        there = EngineAt(at.pod, at.engine, url)
        status, body = await self._send(there, HttpCall("GET", at.engine.metrics_path), TIMEOUT_S)
        return at.engine.signals(body) if status == 200 else None

    async def in_use(self, at: EngineAt) -> frozenset[str] | None:
        """Adapters of which requests run or wait; None where the engine does not say. Raises CallFailed."""
        signals = await self.signals(at)
        if signals is None or signals.running_adapters is None:
            return None
        return frozenset((*signals.running_adapters, *(signals.waiting_adapters or ())))

    async def _send(self, at: EngineAt, call: HttpCall, timeout_s: float) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=True, trust_env=False)
        body: dict[str, Any] = {} if call.body is None else {"json": call.body}
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=TIMEOUT_S)
        try:
            async with self._session.request(call.method, at.url + call.path, timeout=timeout, **body) as answer:
                return answer.status, await answer.read()
        except TimeoutError as error:
            raise CallFailed(f"{at.pod} did not answer to {call.path} within {timeout_s:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CallFailed(f"{at.pod}: {call.path}: {error or type(error).__name__}") from error
