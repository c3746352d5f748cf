"""The parts of a Benchmark Report that only a run's records tell: its figures over time, and of its sessions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from fairlead.bench.report.standard_schema import (
    LatencySeries,
    Point,
    SessionPerformance,
    SessionRequests,
    Statistics,
    ThroughputSeries,
    TimeSeries,
    TimeSeriesPerformance,
)
from fairlead.bench.report.standard_statistics import statistics_of
from fairlead.bench.results.grid import Grid, percentiles
from fairlead.bench.results.sessions import Sessions
from fairlead.bench.summary import RunSummary

SHARES = (0.5, 0.9, 0.95, 0.99)


def time_series(run: RunSummary, grid: Grid | None) -> TimeSeriesPerformance | None:
    """None without records, or where it is not known when the run began."""
    began = when(run.began)
    if grid is None or began is None or not grid.requests.sum():
        return None
    middles = [grid.stretch.begin_s + (k + 0.5) * grid.block_s for k in range(grid.blocks)]
    stamps = [stamp(began, at_s) for at_s in middles]

    def latency(metric: str, units: str) -> TimeSeries | None:
        counts = grid.counts[metric]
        rows = zip(stamps, percentiles(counts, SHARES).tolist(), counts.sum(axis=1).tolist(), strict=True)
        points = [Point(ts=ts, p50=of[0], p90=of[1], p95=of[2], p99=of[3]) for ts, of, count in rows if count]
        return TimeSeries(units=units, series=points) if points else None

    return TimeSeriesPerformance(
        latency=LatencySeries(
            time_to_first_token=latency("ttft", "s"),
            time_per_output_token=latency("tpot", "s/token"),
            inter_token_latency=latency("itl", "s/token"),
            request_latency=latency("e2e", "s"),
        ),
        throughput=ThroughputSeries(
            output_token_rate=_rates(stamps, (grid.tokens / grid.block_s).tolist(), "tokens/s"),
            request_rate=_rates(stamps, (grid.whole / grid.block_s).tolist(), "queries/s"),
        ),
    )


def session_performance(of: Sessions | None) -> SessionPerformance | None:
    if of is None:
        return None
    return SessionPerformance(
        sessions=SessionRequests(
            total=of.total,
            succeeded=of.succeeded,
            failed=of.total - of.succeeded,
            total_events=of.requests,
            total_events_completed=of.whole,
            total_events_cancelled=of.cancelled,
            session_rate=Statistics(units="queries/s", mean=of.per_s),
            session_duration=statistics_of(of.seconds, "s"),
            events_per_session=statistics_of(of.turns, "count"),
            input_tokens_per_session=statistics_of(of.input_tokens, "count"),
            output_tokens_per_session=statistics_of(of.output_tokens, "count"),
        )
    )


def when(began: str) -> datetime | None:
    """None for what is no time."""
    try:
        return datetime.fromisoformat(began)
    except ValueError:
        return None


def stamp(began: datetime, at_s: float) -> str:
    return (began + timedelta(seconds=at_s)).isoformat()


def _rates(stamps: Sequence[str], values: Iterable[float], units: str) -> TimeSeries:
    points = [Point(ts=ts, value=v) for ts, v in zip(stamps, values, strict=True) if math.isfinite(v)]
    return TimeSeries(units=units, series=points)
