"""What servers saw of themselves, in words: heads and rows of tables that the terminal and the page share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fairlead.bench.report.words import ABSENT, at, number, seconds, share, stage_name
from fairlead.bench.server_side.figures import Bucketed, Cost, Range, ServerFigures, ServerLatency, ServerSummary
from fairlead.bench.summary import RunSummary, StageSummary

NARROW = 1.25
"""A bucket no wider than this, upper through lower bound, is said as one value."""


class Words(NamedTuple):
    """A table: its title, its columns, its rows."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def server_tables(run: RunSummary) -> list[Words]:
    """Those that have something in them."""
    side = run.server_side
    if side is None:
        return []
    pairs = [(stage, said) for stage in run.stages for said in side.stages if said.stage == stage.index]
    engines = [(stage, said.engines) for stage, said in pairs if said.engines is not None]
    tables = [
        Words(
            "engines, by their own pages (mean / highest)",
            ("stage", "engines", "running", "waiting", "KV cache", "hits", "preempt", "tokens"),
            [(stage_name(stage), *_state(of)) for stage, of in engines],
        ),
        Words(
            "latencies: server's histogram | client",
            ("stage", "TTFT p50", "TTFT p99", "ITL p50", "queue p99"),
            [(stage_name(stage), *_latencies(stage, of)) for stage, of in engines if _has_latency(of)],
        ),
        Words(
            "gateway",
            ("stage", "in flight", "queued", "full", "endpoints", "sent", "dropped", "queue p99", "decided p99"),
            [
                (
                    stage_name(stage), number(_rounded(of.in_flight_mean)), _pair(of.queued_mean, of.queued_max),
                    share(_rounded(of.saturation_max, 3)), _span(of.ready_endpoints_min, of.ready_endpoints_max),
                    _count(of.requests), _count(of.dropped), _percentile(of.queue), _percentile(of.decision),
                )
                for stage, said in pairs
                if (of := said.gateway) is not None
            ],
        ),
        *_resources(run, side),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def server_notes(run: RunSummary) -> list[str]:
    """What is to be read with the figures."""
    side = run.server_side
    if side is None:
        return []
    names = {stage.index: stage_name(stage) for stage in run.stages}
    notes = [f"{names.get(said.stage, said.stage)}: {note}" for said in side.stages for note in said.notes]
    if side.cost is not None:
        notes.append(f"price per accelerator and hour: {price(side.cost)}; counted by {side.cost.counted_by}")
    if side.energy is not None:
        by = {"counters": "energy counters", "power": "power over time", "mixed": "energy counters and power over time"}
        notes.append(f"energy of {side.energy.devices} {side.energy.of}, by {by[side.energy.measured_by]}")
    return notes


def by_engine(run: RunSummary, stage: StageSummary) -> Words | None:
    """Each engine of a stage, where there are several."""
    side = run.server_side
    said = next((s for s in side.stages if s.stage == stage.index), None) if side is not None else None
    if said is None or len(said.by_engine) < 2:
        return None
    head = ("engine", "there", "running", "waiting", "KV cache", "hits", "preempt", "tokens")
    rows = []
    for name, of in said.by_engine.items():
        state = _state(of)
        rows.append((name, share(_rounded(of.engines, 3)), *state[1:]))
    return Words("engines", head, rows)


def _resources(run: RunSummary, side: ServerSummary) -> list[Words]:
    energy: list[tuple[str, ...]] = []
    cost: list[tuple[str, ...]] = []
    names = {stage.index: stage_name(stage) for stage in run.stages}
    several = len(side.stages) > 1
    parts = [(names.get(said.stage, ""), said.energy, said.cost) for said in side.stages]
    for name, used, costs in [*parts, *([("all stages", side.energy, side.cost)] if several else [])]:
        if used is not None:
            energy.append(
                (
                    name, number(used.joules), f"{number(used.mean_w)} W", number(used.joules_per_output_token),
                    number(used.joules_per_token), share(_rounded(used.missing, 3)),
                )
            )  # fmt: skip
        if costs is not None:
            of = costs.price.currency
            cost.append(
                (
                    name, number(_rounded(costs.accelerators)), money(costs.per_million_output, of),
                    money(costs.per_million_total, of), money(costs.split_output, of), money(costs.split_input, of),
                )
            )  # fmt: skip
    return [
        Words("energy", ("stage", "joules", "mean power", "J/output token", "J/token", "not seen"), energy),
        Words(
            "cost per million tokens: by output, by all tokens, or split between them",
            ("stage", "accel.", "by output", "by all", "split: output", "split: input"),
            cost,
        ),
    ]


def _state(of: ServerFigures) -> tuple[str, ...]:
    cache = ABSENT
    if of.kv_cache_mean is not None:
        cache = f"{share(_rounded(of.kv_cache_mean, 3))} / {share(_rounded(of.kv_cache_max, 3))}"
    hits = share(_rounded(of.prefix_hit_ratio, 3))
    return (
        number(_rounded(of.engines)), _pair(of.running_mean, of.running_max), _pair(of.waiting_mean, of.waiting_max),
        cache, hits, _count(of.preemptions), _count(of.output_tokens),
    )  # fmt: skip


def _has_latency(of: ServerFigures) -> bool:
    return any(part is not None for part in (of.ttft, of.itl, of.e2e, of.queue))


def _latencies(stage: StageSummary, of: ServerFigures) -> tuple[str, ...]:
    metrics = stage.metrics
    return (
        f"{bucket(of.ttft.p50) if of.ttft else ABSENT} | {at(metrics.ttft, 50.0)}",
        f"{bucket(of.ttft.p99) if of.ttft else ABSENT} | {at(metrics.ttft, 99.0)}",
        f"{bucket(of.itl.p50) if of.itl else ABSENT} | {at(metrics.itl, 50.0)}",
        _percentile(of.queue),
    )


def bucket(of: Bucketed) -> str:
    """Where a server's percentile is known to be: its bucket, unless that is narrow."""
    if of.high is None:
        return f"> {seconds(of.low)}"
    if of.low <= 0:
        return f"≤ {seconds(of.high)}"
    if of.high <= of.low * NARROW:
        return seconds(of.value)
    low, high = seconds(of.low), seconds(of.high)
    same = low.partition(" ")[2] == high.partition(" ")[2]
    return f"{low.partition(' ')[0] if same else low}…{high}"


def _percentile(of: ServerLatency | None) -> str:
    return bucket(of.p99) if of is not None else ABSENT


def money(of: Range | None, currency: str) -> str:
    """From the low price to the high one."""
    if of is None:
        return ABSENT
    sign = "$" if currency == "USD" else ""
    low, high = (f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in (of.low, of.high))
    return f"{sign}{low}" if low == high else f"{sign}{low}…{high}"


def price(cost: Cost) -> str:
    """With who says so."""
    return f"{money(Range(cost.price.low, cost.price.high), cost.price.currency)} ({cost.price.provenance})"


def _pair(mean: float | None, highest: float | None) -> str:
    return ABSENT if mean is None else f"{number(_rounded(mean))} / {number(_rounded(highest))}"


def _span(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ABSENT
    return number(low) if low == high else f"{number(low)}…{number(high)}"


def _count(value: float | None) -> str:
    return ABSENT if value is None else number(float(round(value)))


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


__all__: Sequence[str] = ("Words", "bucket", "by_engine", "money", "price", "server_notes", "server_tables")
