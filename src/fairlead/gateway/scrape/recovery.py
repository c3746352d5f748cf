"""Takes endpoints out whose requests fail, asks them after a while whether they are well, and lets them back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from fairlead.clock import SYSTEM, Clock
from fairlead.engines import engine_for
from fairlead.engines.page_client import PageConnection, PageError, request_for
from fairlead.gateway.endpoints import Change, Registry
from fairlead.gateway.load import LoadTable
from fairlead.gateway.outliers import Outliers

PROBE_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class Recovery:
    """Feeds the ends of requests to the outlier detection and acts on what it says."""

    def __init__(self, registry: Registry, loads: LoadTable, clock: Clock = SYSTEM) -> None:
        self.outliers = Outliers()
        self._registry = registry
        self._loads = loads
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}  # address -> the wait for its return
        registry.on_change(self._changed)

    def ended(self, address: str, *, failed: bool) -> None:
        """A request to this endpoint is over. `failed`: the connection was not taken, or ended before the answer did;
        a client that left does not count."""
        if failed:
            self._take_out(address, self.outliers.failed)
        elif self.outliers.is_suspect(address):
            self.outliers.succeeded(address, self._clock.monotonic_s())

    def refused(self, address: str) -> None:
        """The endpoint answered a request that it cannot serve, or not now."""
        self._take_out(address, self.outliers.refused)

    def forget(self, address: str) -> None:
        """The engine there is a new process (`Scraper.on_restarted`)."""
        if self.outliers.is_out(address):
            self._loads.set_out(address, out=False)
        self.outliers.forget(address)
        if (task := self._tasks.pop(address, None)) is not None:
            task.cancel()

    def close(self) -> None:
        """Stop waiting for anything."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _take_out(self, address: str, judge: Callable[[str, float, Sequence[str]], float | None]) -> None:
        keys = self._registry.pools_at(address)
        if not keys:
            return
        siblings = self._registry.pools[keys[0]].addresses
        out_s = judge(address, self._clock.monotonic_s(), siblings)
        if out_s is not None:
            _log.warning("endpoint %s gets no requests for %.0f s: those before have failed", address, out_s)
            self._loads.set_out(address, out=True)
            task = asyncio.create_task(self._bring_back(address, out_s))
            self._tasks[address] = task

    async def _bring_back(self, address: str, out_s: float | None) -> None:
        while out_s is not None:
            await self._clock.sleep(out_s)
            out_s = self.outliers.probed(address, self._clock.monotonic_s(), well=await self._is_well(address))
        _log.info("endpoint %s is back", address)
        self._tasks.pop(address, None)
        self._loads.set_out(address, out=False)

    async def _is_well(self, address: str) -> bool:
        """Whether the engine's own readiness page says so."""
        keys = self._registry.pools_at(address)
        if not keys:
            return False
        pool = self._registry.pools[keys[0]]
        own = next((e.runtime for e in pool.endpoints if e.address == address), "")
        engine = engine_for(own or pool.runtime)
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | PageError] = loop.create_future()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: PageConnection(loop), host.strip("[]"), int(port))
                connection.ask(
                    request_for(address, engine.readiness.path, close=True),
                    PROBE_TIMEOUT_S,
                    # The wait for it may be over already.
                    lambda outcome: None if answer.done() else answer.set_result(outcome),
                )
                outcome = await answer
        except (TimeoutError, OSError):
            return False
        return not isinstance(outcome, PageError) or outcome.status == 200

    def _changed(self, change: Change) -> None:
        for address in change.gone:
            self.forget(address)
