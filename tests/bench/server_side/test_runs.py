"""Whole runs against simulated engines that are looked at: what they say fits the load."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from bench.run.runs import benchmark, steady
from bench.server_side.pages import answer, pages, serving
from fairlead.bench.run import run
from fairlead.bench.run.coordinator import Coordinator
from fairlead.bench.run.stop import Stop
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


async def test_what_engines_say_is_there_while_the_load_is_and_counts_what_came() -> None:
    async with engines(2) as both:
        config = benchmark(
            both[0].url, steady(30, 3), cut={"warm_up_s": 0.5}, drain_s=20.0,
            server={"every_s": 0.2, "accelerators_per_engine": 2, "price_per_hour": 3.6},
        )  # fmt: skip
        second = msgspec.structs.replace(config.targets[0], url=both[1].url)
        config = msgspec.structs.replace(config, targets=(*config.targets, second))
        summary = await asyncio.wait_for(run(config), PATIENCE_S)
    side = summary.server_side
    assert side is not None and set(side.sources.values()) == {"vllm"} and len(side.sources) == 2
    (stage,), (said,) = summary.stages, side.stages
    together = series(summary, ALL, "running_requests")
    begun = [v for t, v in zip(together.times_s, together.values, strict=True) if 0.6 < t < 2.8]
    assert len(begun) >= 10 and all(v is not None and v > 0 for v in begun), together
    for source in side.sources:
        for name in ("running_requests", "kv_cache_usage"):
            one = series(summary, source, name)
            before = [v for t, v in zip(one.times_s, one.values, strict=True) if t < 0]
            assert before and not any(before) and one.values[-1] == 0.0, one
            assert any(one.values)
    # Little's law, by the engines and by the client.
    in_flight = stage.metrics.in_flight
    assert said.engines is not None and said.engines.running_mean is not None and in_flight is not None
    assert said.engines.running_mean == pytest.approx(in_flight.mean, rel=0.5)
    assert said.engines.engines == pytest.approx(2.0)
    assert (said.begin_s, said.end_s) == pytest.approx((0.5, 3.0), abs=0.01)
    # Tokens: of the whole run exactly, of the stage without its warm-up as nearly as looks tell.
    tokens = series(summary, ALL, "output_tokens_per_s")
    grown = sum((v or 0.0) * 0.2 for v in tokens.values)
    assert grown == pytest.approx(90 * 3, rel=0.05)
    assert not any("output tokens" in note for note in (*summary.notes, *said.notes)), (summary.notes, said.notes)
    assert said.engines.ttft is not None and said.engines.ttft.p50.low < 0.1
    # Four accelerators at 3.60 an hour are 0.4 cents a second.
    assert said.cost is not None and said.cost.accelerators == pytest.approx(4.0)
    assert said.cost.money.low == pytest.approx(4 * 0.001 * 2.5, rel=0.01)
    assert summary.cost_per_million_tokens == pytest.approx(
        said.cost.money.low / (stage.metrics.output_tokens_per_s * stage.metrics.seconds) * 1e6
    )


async def test_an_engine_that_dies_and_comes_again_is_told() -> None:
    async with engines(2) as (kept, victim):
        config = benchmark(
            kept.url, steady(20, 4), drain_s=5.0,
            server={"every_s": 0.1, "engines": [kept.url.partition("//")[2], victim.url.partition("//")[2]]},
        )  # fmt: skip
        coordinator = Coordinator(config, None, lambda _: None, Stop())
        running = asyncio.ensure_future(coordinator.run())
        while not coordinator._origin_s:  # noqa: ASYNC110 (it begins when its workers are there)
            await asyncio.sleep(0.02)
        await _asked(victim, 5)
        await victim.stop(signal.SIGKILL)
        again = await start_engine(*FAST, "--port", str(victim.port), model="m")
        try:
            await _asked(again, 1)
            summary = await asyncio.wait_for(running, PATIENCE_S)
        finally:
            await again.stop(signal.SIGKILL)
    source = victim.url.partition("//")[2]
    notes = [note for note in summary.notes if note.startswith(source)]
    assert any("was restarted" in note for note in notes), summary.notes
    tokens = series(summary, source, "output_tokens_per_s")
    assert all(v is None or v >= 0 for v in tokens.values)
    assert summary.stages[0].metrics.whole == 80


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
    joules = [f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{UUID="GPU-a",pod="llama-0"}} {k * 100_000}\n' for k in range(200)]
    async with engines(1) as (one,), serving(pages(*(answer(page.encode()) for page in joules))) as exporter:
        power = {"power": [exporter.authority], "power_labels": {"pod": "llama-*"}, "price_per_hour": 2.0}
        config = benchmark(one.url, steady(10, 2), server={"every_s": 0.2, **power}, drain_s=5.0)
        summary = await asyncio.wait_for(run(config), PATIENCE_S)
    assert summary.server_side is not None
    (said,) = summary.server_side.stages
    assert said.energy is not None and said.energy.devices == 1 and said.energy.measured_by == "counters"
    # A hundred joules a look, five looks a second.
    assert said.energy.mean_w == pytest.approx(500, rel=0.3)
    assert summary.joules_per_token == said.energy.joules_per_output_token
    assert said.cost is not None and said.cost.accelerators == 1.0
    assert series(summary, f"power {exporter.authority}", "accelerator_power").unit == "W"
