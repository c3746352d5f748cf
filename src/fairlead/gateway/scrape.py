"""Asks engines for their metrics: often while requests are about, rarely while an endpoint is idle.

Each endpoint has its own pace: `BUSY_INTERVAL_S` while it has requests, doubling up to `IDLE_INTERVAL_S` while it has
none, `DOWN_INTERVAL_S` while nothing answers. What does not arrive is recorded as such and grows stale.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

import aiohttp

from fairlead.clock import SYSTEM, Clock
from fairlead.engines import Engine, engine_for
from fairlead.gateway.endpoints import Change, Pool, Registry
from fairlead.gateway.load import LoadTable
from fairlead.gateway.metrics import GatewayMetrics

BUSY_INTERVAL_S = 0.2
IDLE_INTERVAL_S = 4.0
DOWN_INTERVAL_S = 0.5
TIMEOUT_S = 1.0
MAX_PAGE_BYTES = 4 * 1024 * 1024
MAX_CONCURRENT = 64


class Scraper:
    """Keeps the load table's reports fresh for every endpoint of the registry."""

    def __init__(self, registry: Registry, loads: LoadTable, metrics: GatewayMetrics, clock: Clock = SYSTEM) -> None:
        self._loads = loads
        self._metrics = metrics
        self._clock = clock
        self._registry = registry
        self._engines: dict[str, Engine] = {}  # address -> adapter
        self._interval_s: dict[str, float] = {}  # address -> current pace
        self._due: list[tuple[float, int, str]] = []  # when, sequence number, address
        self._scheduled: dict[str, int] = {}  # address -> the one entry of `_due` that counts
        self._sequence = itertools.count()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        registry.on_change(self._pool_changed)
        for pool in registry.pools.values():
            self._watch(pool)

    async def run(self) -> None:
        """Scrape until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=MAX_CONCURRENT, keepalive_timeout=30)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            try:
                while True:
                    await self._wait_for_due()
                    self._start_due(session)
            finally:
                for task in self._tasks:
                    task.cancel()

    def _pool_changed(self, change: Change) -> None:
        for address in change.gone:
            self._engines.pop(address, None)
            self._interval_s.pop(address, None)
            self._scheduled.pop(address, None)
            self._loads.forget(address)
        if change.now is not None:
            self._watch(change.now)

    def _watch(self, pool: Pool) -> None:
        engine = engine_for(pool.runtime)
        for endpoint in pool.endpoints:
            known = endpoint.address in self._engines
            self._engines[endpoint.address] = engine
            if not known:
                self._schedule(endpoint.address, 0.0)

    def _schedule(self, address: str, after_s: float) -> None:
        if address in self._scheduled:
            # It went and came back while a scrape was under way: the newer pace goes on.
            return
        self._interval_s[address] = after_s
        sequence = self._scheduled[address] = next(self._sequence)
        heapq.heappush(self._due, (self._clock.monotonic_s() + after_s, sequence, address))
        self._wake.set()

    async def _wait_for_due(self) -> None:
        while True:
            remaining_s = self._due[0][0] - self._clock.monotonic_s() if self._due else IDLE_INTERVAL_S
            if self._due and remaining_s <= 0:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(remaining_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _start_due(self, session: aiohttp.ClientSession) -> None:
        now_s = self._clock.monotonic_s()
        while self._due and self._due[0][0] <= now_s:
            _, sequence, address = heapq.heappop(self._due)
            if self._scheduled.get(address) != sequence:
                continue
            del self._scheduled[address]
            task = asyncio.create_task(self._scrape(session, address, self._engines[address]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _scrape(self, session: aiohttp.ClientSession, address: str, engine: Engine) -> None:
        began_s = self._clock.monotonic_s()
        has_no_page = False
        try:
            async with session.get(metrics_url(address, engine), allow_redirects=False) as response:
                has_no_page = 400 <= response.status < 500
                if response.status != 200:
                    raise aiohttp.ClientPayloadError(f"HTTP {response.status}")
                page = await response.content.read(MAX_PAGE_BYTES)
                while not response.content.at_eof() and len(page) < MAX_PAGE_BYTES:
                    page += await response.content.read(MAX_PAGE_BYTES - len(page))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            refused = isinstance(error, aiohttp.ClientConnectorError)
            silent = not has_no_page and engine.metrics_port is None
            if address in self._engines:
                said = str(error) or type(error).__name__
                self._loads.scrape_failed(address, said, refused=refused, silent=silent)
                self._schedule(address, DOWN_INTERVAL_S)
            self._metrics.scrapes.labels("refused" if refused else "failed").inc()
            return
        if address in self._engines:
            self._loads.scraped(address, engine.signals(page), began_s, self._clock.monotonic_s())
            self._schedule(address, self._next_interval_s(address))
        self._metrics.scrapes.labels("ok").inc()

    def _next_interval_s(self, address: str) -> float:
        load = self._loads.of(address)
        if load.in_flight or load.others:
            return BUSY_INTERVAL_S
        return min(IDLE_INTERVAL_S, max(BUSY_INTERVAL_S, 2 * self._interval_s.get(address, 0.0)))


def metrics_url(address: str, engine: Engine) -> str:
    """Where an endpoint's metrics are: on its own port, or on one that the engine keeps for them."""
    if engine.metrics_port is not None:
        address = f"{address.rpartition(':')[0]}:{engine.metrics_port}"
    return f"http://{address}{engine.metrics_path}"
