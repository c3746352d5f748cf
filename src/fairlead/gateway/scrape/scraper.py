"""Asks engines for their metrics: often while requests are about, rarely while an endpoint is idle.

Each endpoint has its own pace (`pace`). The first request that an idle pool gets wakes it: all its endpoints are asked
at once, as reports from before then tell little. What does not arrive is recorded as such and grows stale.

An endpoint that answers is asked again on the same connection while that is likely to be open still; engines close
connections after about five idle seconds.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.clock import SYSTEM, Clock
from fairlead.engines import UNKNOWN, Engine, EngineSignals, engine_for
from fairlead.engines.page_client import PageConnection, PageError, request_for
from fairlead.gateway.endpoints import Change, Endpoint, Pool, Registry
from fairlead.gateway.load import STALE_AFTER_S, LoadTable
from fairlead.gateway.scrape.pace import (
    IDLE_INTERVAL_S,
    QUIET_INTERVAL_S,
    STALE_INTERVALS,
    busy_interval_s,
    down_interval_s,
    idle_interval_s,
    spread,
)
from fairlead.gateway.scrape.signals import has_restarted, reader_for

TIMEOUT_S = 1.0
KEEP_ALIVE_S = 4.0
"""Connections are kept for intervals up to this."""
IDLE_GRID_S = 0.1
"""Rare questions are asked together at multiples of this: waking up for each would cost as much as the question."""
MAX_CONCURRENT = 128
"""Questions under way at once; as many again for endpoints that failed the last time, lest they hold up the others."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watched:
    """One endpoint. Times on the monotonic clock, seconds."""

    address: str
    pod: str
    engine: Engine
    host: str
    port: int
    keep: bytes
    """The request that keeps the connection open."""
    once: bytes
    """The one after which it is closed."""
    interval_s: float = 0.0
    entry: int = -1
    """Number of the one entry of the schedule that counts; -1 = none, as a question is under way."""
    connection: PageConnection | None = None
    asked_s: float = 0.0
    failures: int = 0
    busy: bool = False
    wanted: bool = False
    """Woken while a question was under way."""
    signals: EngineSignals = UNKNOWN
    started_at_s: float | None = None
    gone: bool = False


class _Lane:
    """Endpoints that are asked at the same time, and those that wait for their turn."""

    __slots__ = ("active", "waiting")

    def __init__(self) -> None:
        self.active = 0
        self.waiting: deque[_Watched] = deque()


class Scraper:
    """Keeps the load table's reports fresh for every endpoint of the registry."""

    def __init__(
        self,
        registry: Registry,
        loads: LoadTable,
        counted: Callable[[str], None] | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """`counted` is told the outcome of every scrape: ok, failed or refused."""
        self._registry = registry
        self._loads = loads
        self._counted = counted or (lambda outcome: None)
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._due: list[tuple[float, int, _Watched]] = []
        self._sequence = itertools.count()
        self._lanes = (_Lane(), _Lane())
        """For endpoints that answered the last time, and for those that did not."""
        self._idle: set[str] = set()
        self._busy = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: tuple[float, asyncio.TimerHandle] | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self.on_scraped: list[Callable[[str, EngineSignals], None]] = []
        """Called after the load table has taken over a report."""
        self.on_restarted: list[Callable[[str], None]] = []
        """Called when the engine at an address is another process than before: its caches are empty."""
        registry.on_change(self._pool_changed)
        for pool in registry.pools.values():
            self._watch(pool)

    async def run(self) -> None:
        """Scrape until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            self._start_due()
            await asyncio.Event().wait()
        finally:
            self._loop = None
            if self._timer is not None:
                self._timer[1].cancel()
                self._timer = None
            for task in list(self._connecting):
                task.cancel()
            for watched in self._watched.values():
                if watched.connection is not None:
                    watched.connection.close()

    def picked(self, address: str) -> None:
        """A request goes to this endpoint. To be called for every pick; costs a look-up unless the endpoint is idle."""
        if address in self._idle:
            self._wake(address)

    def _wake(self, address: str) -> None:
        """All endpoints of the pools of this one are worth a look."""
        now_s = self._clock.monotonic_s()
        for key in self._registry.pools_at(address):
            for other in self._registry.pools[key].addresses:
                if other in self._idle:
                    self._idle.discard(other)
                    watched = self._watched[other]
                    watched.interval_s = 0.0
                    self._loads.of(other).stale_after_s = STALE_AFTER_S
                    if watched.entry < 0:
                        watched.wanted = True
                    else:
                        self._schedule(watched, now_s)

    def _pool_changed(self, change: Change) -> None:
        for address in change.gone:
            watched = self._watched.pop(address, None)
            if watched is not None:
                self._unwatch(watched)
            self._loads.forget(address)
        if change.now is not None:
            self._watch(change.now)

    def _unwatch(self, watched: _Watched) -> None:
        watched.gone, watched.entry = True, -1
        self._idle.discard(watched.address)
        self._mark_busy(watched, busy=False)
        if watched.connection is not None:
            watched.connection.close()

    def _watch(self, pool: Pool) -> None:
        for endpoint in pool.endpoints:
            self._loads.describe(endpoint.address, endpoint.role, endpoint.labels, endpoint.pod, endpoint.adapters)
            engine = engine_for(endpoint.runtime or pool.runtime)
            watched = self._watched.get(endpoint.address)
            if watched is None:
                watched = self._watched[endpoint.address] = _watched(endpoint, engine)
                self._schedule(watched, self._clock.monotonic_s())
                continue
            if watched.pod != endpoint.pod and watched.pod and endpoint.pod:
                self._restarted(watched)
            watched.pod = endpoint.pod or watched.pod
            if watched.engine is not engine and self._registry.pools_at(endpoint.address)[0] == pool.key:
                fresh = _watched(endpoint, engine)
                watched.engine, watched.host, watched.port = engine, fresh.host, fresh.port
                watched.keep, watched.once = fresh.keep, fresh.once

    def _restarted(self, watched: _Watched) -> None:
        _log.info("the engine at %s is a new process: what was in its caches is forgotten", watched.address)
        watched.signals, watched.started_at_s = UNKNOWN, None
        for listener in self.on_restarted:
            listener(watched.address)

    def _schedule(self, watched: _Watched, at_s: float) -> None:
        watched.entry = next(self._sequence)
        heapq.heappush(self._due, (at_s, watched.entry, watched))
        self._set_timer(at_s)

    def _set_timer(self, at_s: float) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            if self._timer[0] <= at_s:
                return
            self._timer[1].cancel()
        after_s = max(0.0, at_s - self._clock.monotonic_s())
        self._timer = (at_s, self._loop.call_later(after_s, self._start_due))

    def _start_due(self) -> None:
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        # Timers of the loop have a resolution of a millisecond.
        until_s = self._clock.monotonic_s() + 0.001
        while self._due and self._due[0][0] <= until_s:
            _, entry, watched = heapq.heappop(self._due)
            if watched.entry != entry:
                continue
            watched.entry = -1
            lane = self._lanes[watched.failures > 0]
            if lane.active < MAX_CONCURRENT:
                self._ask(watched, lane)
            else:
                lane.waiting.append(watched)
        if self._due:
            self._set_timer(self._due[0][0])

    def _ask(self, watched: _Watched, lane: _Lane) -> None:
        loop = self._loop
        if loop is None or watched.gone:
            return
        lane.active += 1
        watched.asked_s = self._clock.monotonic_s()
        watched.wanted = False
        connection = watched.connection
        if connection is not None and connection.free:
            connection.ask(watched.keep, TIMEOUT_S, lambda outcome: self._asked_again(watched, lane, outcome))
            return
        self._start_connecting(loop, watched, lane)

    def _asked_again(self, watched: _Watched, lane: _Lane, outcome: bytes | PageError) -> None:
        """On a connection that was kept."""
        loop = self._loop
        if isinstance(outcome, PageError) and outcome.lost and not watched.gone and loop is not None:
            self._start_connecting(loop, watched, lane)
        else:
            self._asked(watched, lane, outcome)

    def _start_connecting(self, loop: asyncio.AbstractEventLoop, watched: _Watched, lane: _Lane) -> None:
        task = loop.create_task(self._connect(loop, watched, lane))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, loop: asyncio.AbstractEventLoop, watched: _Watched, lane: _Lane) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: PageConnection(loop), watched.host, watched.port)
        except TimeoutError:
            self._asked(watched, lane, PageError(f"no connection within {TIMEOUT_S:g} s"))
        except OSError as error:
            self._asked(watched, lane, PageError(str(error), refused=True))
        else:
            watched.connection = connection
            if not connection.free:
                self._asked(watched, lane, PageError("connection lost before the page was whole"))
                return
            # Only the answer tells whether the endpoint is busy; the pace before it is the best guess.
            request = watched.keep if 2 * watched.interval_s <= KEEP_ALIVE_S else watched.once
            connection.ask(request, TIMEOUT_S, lambda outcome: self._asked(watched, lane, outcome))

    def _asked(self, watched: _Watched, lane: _Lane, outcome: bytes | PageError) -> None:
        lane.active -= 1
        if lane.waiting and self._loop is not None:
            self._loop.call_soon(self._ask_next, lane)
        if watched.gone or self._loop is None:
            return
        if isinstance(outcome, PageError):
            interval_s = self._failed(watched, outcome)
        else:
            interval_s = self._take(watched, outcome)
        if watched.wanted:
            interval_s = 0.0
        elif interval_s > KEEP_ALIVE_S and watched.connection is not None:
            watched.connection.close()
            watched.connection = None
        due_s = self._clock.monotonic_s() + interval_s
        if interval_s > KEEP_ALIVE_S:
            due_s = math.ceil(due_s / IDLE_GRID_S) * IDLE_GRID_S
        self._schedule(watched, due_s)

    def _ask_next(self, lane: _Lane) -> None:
        while lane.waiting and lane.active < MAX_CONCURRENT:
            self._ask(lane.waiting.popleft(), lane)

    def _failed(self, watched: _Watched, error: PageError) -> float:
        """Record it; returns the interval to the next attempt."""
        address = watched.address
        watched.failures += 1
        watched.connection = None
        self._idle.discard(address)
        self._mark_busy(watched, busy=False)
        silent = not 400 <= error.status < 500 and watched.engine.metrics_port is None
        load = self._loads.of(address)
        load.stale_after_s = STALE_AFTER_S
        self._loads.scrape_failed(address, error.message, refused=error.refused, silent=silent)
        self._counted("refused" if error.refused else "failed")
        watched.interval_s = 0.0
        return spread(down_interval_s(watched.failures), address, watched.failures)

    def _take(self, watched: _Watched, page: bytes) -> float:
        """Take over a report; returns the interval to the next one."""
        address = watched.address
        watched.failures = 0
        signals, started_at_s = reader_for(watched.engine)(page)
        if has_restarted(watched.signals, watched.started_at_s, signals, started_at_s):
            self._restarted(watched)
        watched.signals, watched.started_at_s = signals, started_at_s
        self._loads.scraped(address, signals, watched.asked_s, self._clock.monotonic_s())
        if signals.running_adapters:
            self._registry.see_adapters(address, signals.running_adapters)
        interval_s = self._interval_s(watched, signals)
        load = self._loads.of(address)
        load.stale_after_s = max(STALE_AFTER_S, STALE_INTERVALS * interval_s)
        self._counted("ok")
        for listener in self.on_scraped:
            listener(address, signals)
        return spread(interval_s, address, int(watched.asked_s * 10))

    def _interval_s(self, watched: _Watched, signals: EngineSignals) -> float:
        candidate = self._loads.of(watched.address).candidate
        requests = candidate.in_flight + (candidate.others or 0)
        self._mark_busy(watched, busy=requests > 0)
        if requests:
            usage = signals.kv_cache_usage_ratio
            watched.interval_s = busy_interval_s(requests, signals.waiting_requests or 0, usage, self._busy)
        else:
            watched.interval_s = idle_interval_s(watched.interval_s)
        if not requests and watched.interval_s > QUIET_INTERVAL_S:
            self._idle.add(watched.address)
        else:
            self._idle.discard(watched.address)
        return watched.interval_s

    def _mark_busy(self, watched: _Watched, *, busy: bool) -> None:
        self._busy += busy - watched.busy
        watched.busy = busy


def metrics_url(address: str, engine: Engine) -> str:
    """Where an endpoint's metrics are: on its own port, or on one that the engine keeps for them."""
    host, _, port = address.rpartition(":")
    return f"http://{host}:{engine.metrics_port or port}{engine.metrics_path}"


def _watched(endpoint: Endpoint, engine: Engine) -> _Watched:
    host, _, port_text = endpoint.address.rpartition(":")
    port = engine.metrics_port or int(port_text)
    authority, path = f"{host}:{port}", engine.metrics_path
    return _Watched(
        endpoint.address, endpoint.pod, engine, host.strip("[]"), port,
        request_for(authority, path, close=False), request_for(authority, path, close=True),
    )  # fmt: skip


__all__ = ["IDLE_INTERVAL_S", "KEEP_ALIVE_S", "TIMEOUT_S", "Scraper", "metrics_url"]
