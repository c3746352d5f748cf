"""What servers said of themselves during a stage, as a Benchmark Report has it: by component, over the stage and over
time. Signals that the schema has no field for stand beside the components, by their own name.

Fields and units: llm-d-benchmark, `schema_v0_2.py` (`ResourceMetrics`, `TimeSeriesResourceMetrics`) and
`schema_v0_2_1.py`, which has time series of the engine's own signals too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from statistics import fmean, pstdev
from typing import NamedTuple

import msgspec

from fairlead.bench.report.standard_health import pod_startup_times, replica_status
from fairlead.bench.report.standard_schema import Point, Statistics, TimeSeries
from fairlead.bench.report.standard_series import stamp, when
from fairlead.bench.summary import Metrics, RunSummary, Series, StageSummary

MOST_POINTS, LEAST_POINTS, ALL_POINTS = 120, 12, 6000
"""Of a time series in a report, evenly chosen, first and last among them; and of all series of a report together, so
that many engines make no report of many megabytes."""


class Field(NamedTuple):
    """Of a component: its name over the stage (empty: there is none) and over time (`since`: in that version), and its
    units."""

    aggregate: str
    over_time: str
    units: str
    since: str = "0.2"


FIELDS: dict[str, Field] = {
    "kv_cache_usage": Field("kv_cache_usage", "kv_cache_usage", "fraction"),
    "prefix_hit_ratio": Field("cache_hit_rate", "prefix_cache_hit_rate", "fraction", "0.2.1"),
    "running_requests": Field("running_requests", "num_requests_running", "count", "0.2.1"),
    "waiting_requests": Field("waiting_requests", "num_requests_waiting", "count", "0.2.1"),
    "accelerator_power": Field("power_consumption", "power_consumption", "Watts"),
    "gateway_ready_endpoints": Field("", "pool_ready_pods", "count", "0.2.1"),
}
"""Series by their names (`server_side.series`); taken for the field's where the unit is ours for it."""
OWN_UNITS = {"fraction": ("fraction",), "count": ("count",), "Watts": ("W",)}
REFUSED = ("RATE_LIMITED", "UNAVAILABLE")
"""Outcomes by which a server drops a request: 429 and 503."""
OWN_FIELDS = ("components", "drop_rate", "pod_startup_times", "replica_status")
"""Names that the schema has, with shapes of their own: a signal of one of them gets another."""


def observability(run: RunSummary, stage: StageSummary, version: str) -> dict[str, object] | None:
    """None where nothing is known."""
    components: dict[str, dict[str, dict[str, object]]] = {}
    others: dict[str, object] = {}
    began = when(run.began)
    most = max(LEAST_POINTS, min(MOST_POINTS, ALL_POINTS // max(1, len(run.server))))
    for series in run.server:
        points = _points(series, stage)
        if not points:
            continue
        field = FIELDS.get(series.name)
        if field is None or series.unit not in OWN_UNITS[field.units]:
            name = series.name if series.name not in OWN_FIELDS else f"signal_{series.name}"
            entry = {"component_label": series.source, "statistics": _said(_statistics(points, series.unit))}
            others.setdefault(name, {"components": []})["components"].append(entry)  # type: ignore[index]
            continue
        of = components.setdefault(series.source, {"aggregate": {}, "time_series": {}})
        if field.aggregate:
            of["aggregate"][field.aggregate] = _said(_statistics(points, field.units))
        if began is not None and (field.since == "0.2" or version != "0.2"):
            of["time_series"][field.over_time] = _said(_over_time(points, field.units, began, most))
    found: dict[str, object] = {}
    if components:
        found["components"] = [
            {"component_label": label, **{part: values for part, values in of.items() if values}}
            for label, of in components.items()
            if any(of.values())
        ]
    if (dropped := drop_rate(stage.metrics)) is not None:
        found["drop_rate"] = _said(dropped)
    for name, said in (("replica_status", replica_status(run, stage)), ("pod_startup_times", pod_startup_times(run))):
        if said is not None:
            found[name] = said
    return {**found, **others} or None


def drop_rate(metrics: Metrics) -> Statistics | None:
    """The share of requests that the server refused, of all: only where it refused some."""
    refused = sum(metrics.failures.get(name, 0) for name in REFUSED)
    return Statistics(units="fraction", mean=refused / metrics.requests) if refused and metrics.requests else None


def _points(series: Series, stage: StageSummary) -> list[tuple[float, float]]:
    pairs = zip(series.times_s, series.values, strict=False)
    return [(t, v) for t, v in pairs if v is not None and math.isfinite(v) and stage.begin_s <= t <= stage.end_s]


def _statistics(points: Sequence[tuple[float, float]], units: str) -> Statistics:
    values = [value for _, value in points]
    return Statistics(units=units, mean=fmean(values), stddev=pstdev(values), min=min(values), max=max(values))


def _over_time(points: Sequence[tuple[float, float]], units: str, began: datetime, most: int) -> TimeSeries:
    most = min(len(points), most)
    chosen = {round(k * (len(points) - 1) / max(1, most - 1)) for k in range(most)}
    return TimeSeries(
        units=units, series=[Point(ts=stamp(began, points[k][0]), value=points[k][1]) for k in sorted(chosen)]
    )


def _said(value: object) -> object:
    return msgspec.to_builtins(value)
