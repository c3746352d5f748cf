"""Whole runs against simulated engines that are looked at: what they say fits the load."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from bench.run.runs import benchmark, steady
from bench.server_side.pages import answer, serving
from fairlead.bench.run import run
from fairlead.bench.run.coordinator import Coordinator
from fairlead.bench.run.stop import Stop
from fairlead.bench.server_side.history import History
from fairlead.bench.server_side.observer import ServerObserver
from fairlead.bench.server_side.series import ALL
from fairlead.bench.summary import RunSummary, Series
from patience import PATIENCE_S
from simulator.conftest import EngineProcess, start_engine

FAST = ("--ttft-ms", "40", "--itl-ms", "30")


@contextlib.asynccontextmanager
async def engines(count: int, *arguments: str) -> AsyncIterator[list[EngineProcess]]:
    started = await asyncio.gather(*(start_engine(*(arguments or FAST), model="m") for _ in range(count)))
    try:
        yield list(started)
    finally:
        await asyncio.gather(*(one.stop(signal.SIGKILL) for one in started))


def series(summary: RunSummary, source: str, name: str) -> Series:
    (found,) = (s for s in summary.server if (s.source, s.name) == (source, name))
    return found


def histories(coordinator: Coordinator) -> list[History]:
    """Of the pages that a run looks at, as they fill."""
    (observer,) = coordinator._observers._observers
    assert isinstance(observer, ServerObserver)
    return [one.history for one in observer._watched.values()]


async def seen_running(history: History, looks: int) -> None:
    """Until so many looks saw requests."""
    while sum(v > 0 for v in history.column("running_requests")) < looks:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def counted(rates: Series) -> float:
    """What rates come to over their intervals."""
    total, before = 0.0, None
    for at, rate in zip(rates.times_s, rates.values, strict=True):
        if rate is not None:
            assert before is not None
            total += rate * (at - before)
        # The first look has no rate, and begins an interval; a later one without has seen nothing.
        before = at if rate is not None or before is None else before
    return total


async def test_what_engines_say_is_there_while_the_load_is_and_counts_what_came() -> None:
    async with engines(2) as both:
        config = benchmark(
            both[0].url, steady(30, 600), cut={"warm_up_s": 0.5}, drain_s=20.0,
            server={"every_s": 0.2, "accelerators_per_engine": 2, "price_per_hour": 3.6},
        )  # fmt: skip
        second = msgspec.structs.replace(config.targets[0], url=both[1].url)
        config = msgspec.structs.replace(config, targets=(*config.targets, second))
        stop = Stop()
        coordinator = Coordinator(config, None, lambda _: None, stop)
        running = asyncio.ensure_future(coordinator.run())
        for history in histories(coordinator):
            await asyncio.wait_for(seen_running(history, 12), PATIENCE_S)
        stop.ask("enough was seen")
        summary = await asyncio.wait_for(running, PATIENCE_S)
    side = summary.server_side
    assert side is not None and set(side.sources.values()) == {"vllm"} and len(side.sources) == 2
    (stage,), (said,) = summary.stages, side.stages
    together = series(summary, ALL, "running_requests")
    begun = [
        v for t, v in zip(together.times_s, together.values, strict=True) if 0.6 < t < said.end_s and v is not None
    ]
    assert begun and all(v > 0 for v in begun), together
    for source in side.sources:
        for name in ("running_requests", "kv_cache_usage"):
            one = series(summary, source, name)
            before = [v for t, v in zip(one.times_s, one.values, strict=True) if t < 0]
            assert before and not any(before) and one.values[-1] == 0.0, one
            assert any(one.values)
    # What runs there is in flight here; a machine that is busy has some of it on the way.
    in_flight = stage.metrics.in_flight
    assert said.engines is not None and said.engines.running_mean is not None and in_flight is not None
    assert 0 < said.engines.running_mean <= 1.5 * in_flight.mean + 1.0
    assert said.engines.engines == pytest.approx(2.0)
    seconds = said.end_s - said.begin_s
    assert (said.begin_s, seconds) == pytest.approx((0.5, stage.metrics.seconds), abs=0.01)
    # Of the whole run tokens agree to the last one.
    whole = sum(stage.metrics.failures.values()) == 0
    by_engines = sum(counted(series(summary, source, "output_tokens_per_s")) for source in side.sources)
    assert by_engines == pytest.approx(3 * stage.metrics.requests, rel=0.3)
    assert not whole or not any("output tokens during the run" in note for note in summary.notes), summary.notes
    assert said.engines.ttft is not None and said.engines.ttft.p50.low < 0.1
    # Four accelerators at 3.60 an hour are 0.4 cents a second.
    assert said.cost is not None and said.cost.accelerators == pytest.approx(4.0)
    assert said.cost.money.low == pytest.approx(4 * 0.001 * seconds)
    assert summary.cost_per_million_tokens == pytest.approx(
        said.cost.money.low / (stage.metrics.output_tokens_per_s * stage.metrics.seconds) * 1e6
    )


async def test_an_engine_that_dies_and_comes_again_is_told() -> None:
    async with engines(2) as (kept, victim):
        source = victim.url.partition("//")[2]
        config = benchmark(
            kept.url, steady(20, 600), drain_s=5.0,
            server={"every_s": 0.1, "engines": [kept.url.partition("//")[2], source]},
        )  # fmt: skip
        stop = Stop()
        coordinator = Coordinator(config, None, lambda _: None, stop)
        history = next(h for h in histories(coordinator) if h.source == source)
        running = asyncio.ensure_future(coordinator.run())
        async with asyncio.timeout(PATIENCE_S):
            while not len(history.times):  # noqa: ASYNC110 (totals count from the first look)
                await asyncio.sleep(0.02)
            await _asked(victim, 5)
            while not any(total >= 5 for total in history.column("generation_tokens_total")):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await victim.stop(signal.SIGKILL)
            again = await start_engine(*FAST, "--port", str(victim.port), model="m")
            while not history.restarts:  # noqa: ASYNC110 (a look sees it)
                await asyncio.sleep(0.02)
        stop.ask("it was seen")
        try:
            summary = await asyncio.wait_for(running, PATIENCE_S)
        finally:
            await again.stop(signal.SIGKILL)
    notes = [note for note in summary.notes if note.startswith(source)]
    assert any("was restarted" in note for note in notes), summary.notes
    assert any("connection refused" in note for note in notes), summary.notes
    tokens = series(summary, source, "output_tokens_per_s")
    assert None in tokens.values[1:] and all(v is None or v >= 0 for v in tokens.values)
    assert summary.server_side is not None
    assert summary.server_side.stages[0].by_engine[source].restarts == 1
    assert summary.stages[0].metrics.whole > 0


async def _asked(engine: EngineProcess, tokens: int) -> None:
    """Give it something to count."""
    body = {"model": "m", "prompt": "hello", "max_tokens": tokens, "ignore_eos": True}
    async with aiohttp.ClientSession() as session, session.post(engine.url + "/v1/completions", json=body) as response:
        assert response.status == 200


async def test_others_who_ask_the_engine_too_are_noticed() -> None:
    async with engines(1) as (one,):
        config = benchmark(one.url, steady(10, 2), server={"every_s": 0.2}, drain_s=5.0)
        running = asyncio.ensure_future(run(config))
        for _ in range(4):
            await _asked(one, 60)
        summary = await asyncio.wait_for(running, PATIENCE_S)
    assert any("others who ask them too" in note for note in summary.notes), summary.notes


async def test_power_beside_the_load_is_energy_of_each_token() -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        millijoules = 500_000 * time.monotonic()
        page = f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{UUID="GPU-a",pod="llama-0"}} {millijoules:.0f}\n'
        writer.write(answer(page.encode()))

    async with engines(1) as (one,), serving(write) as exporter:
        power = {"power": [exporter.authority], "power_labels": {"pod": "llama-*"}, "price_per_hour": 2.0}
        config = benchmark(one.url, steady(10, 2), server={"every_s": 0.2, **power}, drain_s=5.0)
        summary = await asyncio.wait_for(run(config), PATIENCE_S)
    assert summary.server_side is not None
    (said,) = summary.server_side.stages
    assert said.energy is not None and said.energy.devices == 1 and said.energy.measured_by == "counters"
    assert said.energy.mean_w == pytest.approx(500, rel=0.1)
    assert summary.joules_per_token == said.energy.joules_per_output_token
    assert said.cost is not None and said.cost.accelerators == 1.0
    assert series(summary, f"power {exporter.authority}", "accelerator_power").unit == "W"
