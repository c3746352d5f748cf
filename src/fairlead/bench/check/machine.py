"""The load generator against its own null server: how fast it can go on this machine before its figures are wrong."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence

from fairlead.bench.check.limits import Limits, Trial, conclusion, next_rate
from fairlead.bench.check.witness import Witness, evenness, null_server
from fairlead.bench.config import Benchmark, OpenLoop, OpenStage, SyntheticContent, Target
from fairlead.bench.measure.validity import MORE_WORKERS
from fairlead.bench.run import run
from fairlead.bench.run.links import Crew
from fairlead.bench.summary import Distribution, RunSummary
from fairlead.clock import SYSTEM
from fairlead.workload import Fixed

TTFT_S, ITL_S = 0.02, 0.005
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 16
TRIAL_S = 1.5
AROUND_TRIAL_S = 1.5
"""What a trial takes on top: a worker's start, the last answers, its end."""
LEAST_SHARE = 0.98
"""Of what was asked for, that must have been answered whole, and have arrived."""


async def check(seconds: float = 18.0, told: Callable[[Trial], None] | None = None) -> Limits:
    """Take about `seconds`. `told` hears each trial when it is over. Raises OSError when the null server does not
    start, RunFailed when no worker does."""
    began_s, load = SYSTEM.monotonic_s(), os.getloadavg()[0]
    trials: list[Trial] = []
    async with null_server(TTFT_S, ITL_S, seconds + 60.0) as witness:
        while (rate := next_rate(trials)) is not None:
            if trials and SYSTEM.monotonic_s() - began_s + TRIAL_S + AROUND_TRIAL_S > seconds:
                break
            trials.append(trial := await attempt(rate, [witness]))
            if told is not None:
                told(trial)
    valid_per_s, bound_by = conclusion(trials)
    cores = len(os.sched_getaffinity(0))
    return Limits(cores, load, valid_per_s, bound_by, tuple(trials))


async def attempt(
    rate_per_s: float, witnesses: Sequence[Witness], workers: int = 1, seconds: float = TRIAL_S,
    crew: Crew | None = None,
) -> Trial:  # fmt: skip
    """One rate, shared evenly by the null servers."""
    await asyncio.gather(_arrivals(witnesses), _served_ttft(witnesses))
    server_s, ours_s, began_s = await _busiest(witnesses), time.process_time(), SYSTEM.monotonic_s()
    config = Benchmark(
        targets=tuple(Target(url=w.url, model="null", api="completions", name=f"null {w.port}") for w in witnesses),
        load=OpenLoop((OpenStage(rate_per_s, seconds=seconds),), process="constant"),
        content=SyntheticContent(Fixed(PROMPT_TOKENS), Fixed(OUTPUT_TOKENS)),
        workers=workers, drain_s=5.0,
    )  # fmt: skip
    summary = await run(config, crew=crew)
    ours_s = time.process_time() - ours_s
    arrivals = await _arrivals(witnesses)
    server_share = (await _busiest(witnesses) - server_s) / seconds
    ttft_s = await _served_ttft(witnesses)
    return trial_of(summary, rate_per_s, rate_per_s * seconds, arrivals, began_s, ours_s, server_share, ttft_s)


async def _arrivals(witnesses: Sequence[Witness]) -> list[float]:
    return sorted(at for each in await asyncio.gather(*(w.arrivals() for w in witnesses)) for at in each)


async def _served_ttft(witnesses: Sequence[Witness]) -> list[float]:
    return sorted(at for each in await asyncio.gather(*(w.served() for w in witnesses)) for at in each.ttft_s)


async def _busiest(witnesses: Sequence[Witness]) -> float:
    return max(usage.cpu_s for usage in await asyncio.gather(*(w.usage() for w in witnesses)))


def trial_of(
    summary: RunSummary, rate_per_s: float, intended: float, arrivals: list[float], began_s: float,
    coordinator_s: float, server_share: float, served_ttft_s: Sequence[float],
) -> Trial:  # fmt: skip
    """What a run and its witness say of one rate. `served_ttft_s`: what answers had by the server, sorted."""
    priorities = summary.environment.get("worker_priorities")
    priority = str(priorities[0]) if isinstance(priorities, list) and priorities else "unknown"
    if not summary.stages or len(arrivals) < 3:
        why = f"{len(arrivals)} requests arrived: {summary.why_ended or 'the run had no stage'}"
        nan = float("nan")
        return Trial(
            rate_per_s, 0.0, 0, nan, nan, nan, nan, nan, nan, nan, nan, 0.0, 0.0, coordinator_s, server_share, nan,
            priority, (why,),
        )  # fmt: skip
    stage = summary.stages[0]
    client, metrics = stage.client, stage.metrics
    arrivals = arrivals[-max(3, metrics.requests) :]  # a run tries the server once before it begins
    seen = evenness(arrivals, rate_per_s)
    # What helps a run does not help here: there is one worker, and nothing to be chosen.
    reasons = [reason.replace(f": {MORE_WORKERS}", "") for reason in stage.verdict.reasons]
    if summary.ended != "complete":
        reasons.append(summary.why_ended)
    if min(metrics.whole, len(arrivals)) < LEAST_SHARE * intended:
        reasons.append(f"{metrics.whole} answers were whole and {len(arrivals)} requests arrived of {intended:.0f}")
    return Trial(
        rate_per_s, (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]), len(arrivals), client.lag_p50_s,
        client.lag_p99_s, client.loop_lag_p99_s, seen.deviation_p50_s, seen.deviation_p99_s, seen.gap_cv,
        _bias(metrics.ttft, served_ttft_s, 50.0), _bias(metrics.ttft, served_ttft_s, 99.0), client.cpu_share,
        client.cpu_s_per_request, coordinator_s / len(arrivals), server_share, arrivals[0] - began_s, priority,
        tuple(reasons),
    )  # fmt: skip


def _bias(ttft: Distribution | None, served_s: Sequence[float], percentile: float) -> float:
    """Between percentiles: the server's own lateness is in both, and not held against the client."""
    if ttft is None or not served_s:
        return float("nan")
    return ttft.percentiles[percentile] - served_s[int(percentile / 100 * (len(served_s) - 1))]
