"""Plots of servers' signals over time: a line for each source, and where there are many, how they are spread."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from fairlead.bench.report.figures import COLOURS, Figure, figure_of, line_of
from fairlead.bench.server_side.series import ALL
from fairlead.bench.summary import Series

MOST_LINES = 8
"""Of more, nobody could tell which is which."""
MOST_BINS = 240
TITLES = {
    "running_requests": "Running requests", "waiting_requests": "Waiting requests",
    "kv_cache_usage": "Use of the KV cache", "prefix_hit_ratio": "Prefix cache hits",
    "output_tokens_per_s": "Output tokens, by the engines", "prompt_tokens_per_s": "Prompt tokens, by the engines",
    "requests_per_s": "Requests that ended, by the engines", "preemptions_per_s": "Preemptions",
    "draft_acceptance": "Accepted draft tokens", "engines": "Engines that answered",
    "gateway_in_flight_requests": "Requests at engines, by the gateway",
    "gateway_queued_requests": "Requests queued in the gateway", "gateway_ready_endpoints": "Ready endpoints",
    "gateway_saturation": "Saturation of the pool", "gateway_requests_per_s": "Requests sent by the gateway",
    "gateway_dropped_per_s": "Requests dropped by the gateway", "gateway_errors_per_s": "Errors at the gateway",
    "accelerator_power": "Power of accelerators", "host_power": "Power of hosts",
}  # fmt: skip


def server_figures(series: Sequence[Series]) -> list[Figure]:
    """A plot a signal, on the same time as the others. A signal that was nought all the time has none."""
    figures = []
    for name, unit in dict.fromkeys((s.name, s.unit) for s in series):
        of = [s for s in series if (s.name, s.unit) == (name, unit)]
        if name in ("preemptions_per_s", "gateway_dropped_per_s", "gateway_errors_per_s") and not any(map(_any, of)):
            continue
        title = TITLES.get(name, name)
        together = [s for s in of if s.source == ALL]
        each = [s for s in of if s.source != ALL]
        if len(each) <= MOST_LINES:
            lines = [_line(s, number, alone=not each) for number, s in enumerate([*each, *together])]
            figures.append(_figure(title, unit, lines))
            continue
        if together:
            figures.append(
                _figure(f"{title}, all together", unit, [_line(s, k, alone=True) for k, s in enumerate(together)])
            )
        figures.append(_figure(f"{title}, of {len(each)} engines", unit, spread(each)))
    return figures


def spread(series: Sequence[Series]) -> list[dict[str, Any]]:
    """Least and greatest, tenth and ninetieth percentile and median of the sources, in bins of time; of each bin the
    sources that said something in it."""
    begin_s = min(s.times_s[0] for s in series if s.times_s)
    end_s = max(s.times_s[-1] for s in series if s.times_s)
    longest = max(len(s.times_s) for s in series)
    bins = max(1, min(MOST_BINS, longest))
    wide_s = (end_s - begin_s) / bins or 1.0
    edges = [begin_s + k * wide_s for k in range(1, bins)]
    values: list[list[float]] = [[] for _ in range(bins)]
    for one in series:
        sums, counts = [0.0] * bins, [0] * bins
        for at_s, value in zip(one.times_s, one.values, strict=True):
            if value is not None:
                k = bisect_left(edges, at_s)
                sums[k] += value
                counts[k] += 1
        for k in range(bins):
            if counts[k]:
                values[k].append(sums[k] / counts[k])
    there = [(begin_s + (k + 0.5) * wide_s, sorted(v)) for k, v in enumerate(values) if v]
    x = [float(f"{t:.6g}") for t, _ in there]
    rows = {q: [float(f"{_at(v, q):.6g}") for _, v in there] for q in (0.0, 0.1, 0.5, 0.9, 1.0)}
    band = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0}, "hoverinfo": "y"}
    return [
        band | {"name": "least", "y": rows[0.0], "showlegend": False},
        band | {"name": "least to greatest", "y": rows[1.0], "fill": "tonexty", "fillcolor": _faint(0.15)},
        band | {"name": "p10", "y": rows[0.1], "showlegend": False},
        band | {"name": "p10 to p90", "y": rows[0.9], "fill": "tonexty", "fillcolor": _faint(0.3)},
        line_of("median", x, rows[0.5], 0),
    ]


def _at(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _faint(opacity: float) -> str:
    red, green, blue = (int(COLOURS[0][k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _any(series: Series) -> bool:
    return any(series.values)


def _line(series: Series, number: int, alone: bool = False) -> dict[str, Any]:
    x = [float(f"{t:.6g}") for t in series.times_s]
    y = [None if v is None else float(f"{v:.6g}") for v in series.values]
    line = line_of(series.source, x, y, number)
    return line | ({"line": line["line"] | {"width": 3, "dash": "dot"}} if series.source == ALL and not alone else {})


def _figure(title: str, unit: str, lines: list[dict[str, Any]]) -> Figure:
    fraction = unit == "fraction"
    figure = figure_of(title, "s from the start", "" if unit in ("fraction", "count") else unit, lines)
    figure["layout"]["yaxis"] |= {"rangemode": "tozero"} | ({"tickformat": ".0%"} if fraction else {})
    return figure
