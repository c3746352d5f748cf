"""Looks at servers' pages while a run goes on: each on a schedule of its own, with deadlines that do not drift.

The load is made by other processes; what this costs is the coordinator's time. So a page is read without its histograms
except near the ends of stages, looks are spread over the interval, and a page that takes long to read is read as
rarely as keeps it below `MOST_BUSY` of a core.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from fairlead.bench.config import Benchmark
from fairlead.bench.paths import user_path
from fairlead.bench.record import Record
from fairlead.bench.run.observing import Observed
from fairlead.bench.server_side.cost import price_of
from fairlead.bench.server_side.series import all_engines, series_of
from fairlead.bench.server_side.stages import Sources, longest, server_summary
from fairlead.bench.server_side.told import Tally, notes_of, token_note
from fairlead.bench.server_side.watched import Watched, places_of, places_of_endpoints
from fairlead.bench.summary import RunSummary, Series
from fairlead.clock import SYSTEM
from fairlead.engines.page_client import PageError

if TYPE_CHECKING:
    from fairlead.bench.server_side.pool import PoolSource

LOOK_WITHIN_S = 3.0
FIRST_WITHIN_S, LAST_WITHIN_S = 2.0, 2.0
POOL_EVERY_S, POOL_WITHIN_S = 2.0, 2.5
MOST_BUSY = 0.02
USELESS_EVERY_S = 10.0
MOST_PAGES = 1024

NO_COST = (
    "cost is not known: not in every stage is it known how many accelerators there were: give server.accelerators, or "
    "server.accelerators_per_engine where the engines are looked at"
)
NO_ENERGY = "energy is not known: server.power told of no device in time"

Boundaries = Callable[[], Sequence[float]]


class ServerObserver:
    """Of a configuration that has `server`. `boundaries`: ends of the stages that are known, seconds from the origin of
    the run."""

    name = "server"

    def __init__(self, config: Benchmark, boundaries: Boundaries = tuple) -> None:
        """Raises ValueError for a key that cannot be read."""
        assert config.server is not None
        self._server, self._cut = config.server, config.cut
        self._boundaries = boundaries
        self._places = places_of(config)
        self._watched: dict[str, Watched] = {place.source: Watched(place, self._server) for place in self._places}
        self._pool: PoolSource | None = None
        self._pool_failures: dict[str, int] = {}
        self._notes: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None
        self._origin_s: float | None = None
        self._ending = False
        self._tally = Tally()

    async def prepare(self) -> None:
        """The first look at all pages. Raises ValueError for a pool that is not there, or a cluster that cannot be
        asked."""
        if self._server.pool is not None:
            self._pool = _pool_source(self._server.pool, self._server.kubeconfig, self._server.context)
            await self._follow_once()
        await asyncio.gather(*(self._look(one, FIRST_WITHIN_S) for one in list(self._watched.values())))

    def begin(self, origin_s: float) -> None:
        self._origin_s = origin_s
        for number, one in enumerate(self._watched.values()):
            self._start(one, number / len(self._watched))
        if self._pool is not None:
            self._following = asyncio.ensure_future(self._follow())

    def add(self, records: Sequence[Record]) -> None:
        self._tally.add(records)

    async def end(self) -> Observed:
        self._ending = True
        tasks = [*self._tasks.values(), *([self._following] if self._following is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        there = [one for one in self._watched.values() if not one.gone]
        await asyncio.gather(*(self._look(one, LAST_WITHIN_S) for one in there))
        for one in self._watched.values():
            one.page.close()
        if self._pool is not None:
            with contextlib.suppress(Exception):
                await self._pool.close()
        return self._observed()

    # Looking

    def _start(self, one: Watched, phase: float) -> None:
        """`phase`: where in the interval, so that pages are not all read at once."""
        self._tasks[one.place.source] = asyncio.ensure_future(self._look_on(one, phase))

    async def _look_on(self, one: Watched, phase: float) -> None:
        due_s = SYSTEM.monotonic_s() + phase * self._server.every_s
        while True:
            await SYSTEM.sleep(max(0.0, due_s - SYSTEM.monotonic_s()))
            await self._look(one, LOOK_WITHIN_S)
            every_s = max(self._server.every_s * 2**one.history.thinned, min(one.readings_s, default=0.0) / MOST_BUSY)
            # Looks that could not be made in time are left out, and the next one is due when it would have been.
            missed = max(0, math.floor((SYSTEM.monotonic_s() - due_s) / every_s))
            one.missed += missed
            due_s += (missed + 1) * every_s

    async def _look(self, one: Watched, within_s: float) -> None:
        look = await one.page.look(within_s)
        if isinstance(look.outcome, PageError):
            one.history.failed(look.at_s, look.outcome.message)
            one.next_path(look.outcome)
            # Somebody is there and says what cannot be used, at what length ever: that is not worth a look each time.
            useless = look.outcome.answered and look.outcome.status == 200
            one.readings_s.append(USELESS_EVERY_S * MOST_BUSY if useless else 0.0)
            return
        one.slowest_s = max(one.slowest_s, look.answered_s - look.asked_s)
        began_s = SYSTEM.monotonic_s()
        one.take(look.outcome, look.at_s, self._at_boundary(one, look.at_s))
        one.readings_s.append(SYSTEM.monotonic_s() - began_s)

    def _at_boundary(self, one: Watched, at_s: float) -> bool:
        """Whether a stage, or the part of it that counts, has begun or ended since the last look at histograms; before
        the start and after the end always."""
        if self._origin_s is None or not one.history.snapshots or self._ending:
            return True
        since_s, now_s = one.history.snapshots[-1][0] - self._origin_s, at_s - self._origin_s
        cut = self._cut
        # What was before the first request is known from before the start.
        ends = (t + shift for t in self._boundaries() for shift in {0.0, cut.warm_up_s, -cut.cool_down_s})
        return any(max(0.0, since_s) < end_s <= now_s for end_s in ends)

    # A pool

    async def _follow(self) -> None:
        due_s = SYSTEM.monotonic_s()
        while True:
            due_s = max(due_s + POOL_EVERY_S, SYSTEM.monotonic_s())
            await SYSTEM.sleep(due_s - SYSTEM.monotonic_s())
            with contextlib.suppress(ValueError):
                await self._follow_once()

    async def _follow_once(self) -> None:
        """Engines that have come are looked at from here on, those that have gone no more. A cluster that does not
        answer is asked again the next time."""
        from fairlead.bench.server_side.pool import PoolMissing

        assert self._pool is not None
        try:
            async with asyncio.timeout(POOL_WITHIN_S):
                endpoints = await self._pool.endpoints()
        except TimeoutError:
            self._pool_failed(f"the API server did not answer within {POOL_WITHIN_S:g} s")
            return
        except PoolMissing as error:
            self._pool_failed(str(error))
            raise
        except Exception as error:
            self._pool_failed(f"{type(error).__name__}: {error}"[:200])
            return
        found = {place.source: place for place in places_of_endpoints(endpoints, self._server)}
        for source, place in found.items():
            known = self._watched.get(source)
            if known is not None and not known.gone:
                continue
            if len(self._watched) >= MOST_PAGES:
                break
            one = self._watched[source] = Watched(place, self._server, known.history if known is not None else None)
            if self._origin_s is not None:
                self._start(one, 0.0)
        for source, one in self._watched.items():
            if one.place.is_endpoint and source not in found and not one.gone:
                one.gone = True
                if (task := self._tasks.pop(source, None)) is not None:
                    task.cancel()
                one.page.close()

    def _pool_failed(self, why: str) -> None:
        self._pool_failures[why] = self._pool_failures.get(why, 0) + 1

    # The end

    def _observed(self) -> Observed:
        # Without a start there is no origin to count from, and nothing that was measured either.
        origin_s = self._origin_s if self._origin_s is not None else SYSTEM.monotonic_s()
        for one in self._watched.values():
            one.history.count_from(origin_s)
        engines, gateways, power = (
            [w.history for w in self._watched.values() if w.place.kind == kind and not w.history.is_mixed]
            for kind in ("engine", "gateway", "power")
        )
        every_s = self._server.every_s
        totals = all_engines(engines, every_s, longest(every_s, engines))
        series = series_of([*engines, *gateways, *power], totals)
        notes = list(notes_of(self._watched.values(), self._pool_failures, every_s))
        sources = Sources(engines, gateways, power)
        kinds = {w.place.source: w.what for w in self._watched.values()}

        def complete(run: RunSummary) -> RunSummary:
            return self._completed(run, sources, totals, kinds)

        return Observed(tuple(series), tuple(notes), complete)

    def _completed(
        self, run: RunSummary, sources: Sources, totals: Iterable[Series], kinds: dict[str, str]
    ) -> RunSummary:
        said = server_summary(run, self._server, self._cut.cool_down_s, sources, tuple(totals), kinds)
        cost, energy = said.cost, said.energy
        output = cost.per_million_output if cost is not None else None
        notes = [note] if (note := token_note(self._tally, sources.engines)) is not None else []
        if cost is None and price_of(self._server) is not None and run.stages:
            notes.append(NO_COST)
        if energy is None and self._server.power and not any(stage.energy for stage in said.stages):
            notes.append(NO_ENERGY)
        return msgspec.structs.replace(
            run,
            server_side=said,
            cost_per_million_tokens=None if output is None else (output.low + output.high) / 2,
            joules_per_token=None if energy is None else energy.joules_per_output_token,
            notes=(*run.notes, *notes),
        )


def _pool_source(name: str, kubeconfig: str | None, context: str | None) -> PoolSource:
    from fairlead.bench.server_side.pool import PoolSource
    from fairlead.kube.authorization import CredentialsError
    from fairlead.kube.client import Client

    path = None if kubeconfig is None else user_path(kubeconfig)
    try:
        return PoolSource(name, Client.load(path, context))
    except CredentialsError as error:
        raise ValueError(f"server.pool is {name}, and there is no cluster to look it up in: {error}") from error
