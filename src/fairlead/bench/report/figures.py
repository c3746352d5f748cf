"""Plots of a run as Plotly figures in plain JSON form, from its summary and from counts over time and value.

Colours of text and grids are the page's own, which knows whether it is light or dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead.bench.report.words import stage_name
from fairlead.bench.results.grid import BINS, RATIO, Grid, bin_edges, percentiles
from fairlead.bench.summary import RunSummary, StageSummary

Figure = dict[str, Any]

COLOURS = ("#4c7df0", "#e8743b", "#2fa56b", "#a46be0", "#c9a227", "#e0567c", "#35a9bf", "#8b93a3")
TITLES = {
    "ttft": "Time to first token", "ttft_from_due": "Time to first token, from due", "itl": "Inter-token latency",
    "tpot": "Time per output token", "e2e": "End-to-end latency", "schedule_delay": "Schedule delay (sent − due)",
}  # fmt: skip
HEAT_ROWS = 60


def curves(run: RunSummary) -> list[Figure]:
    """Latency against throughput, a point a stage: the knee is where a little more throughput costs much latency."""
    figures = []
    for field in ("ttft", "itl", "e2e"):
        lines = []
        for number, percentile in enumerate((50.0, 90.0, 99.0)):
            points = sorted(
                (stage.metrics.requests_per_s, of.percentiles[percentile] * 1e3, _label(stage))
                for stage in run.stages
                if (of := getattr(stage.metrics, field)) is not None and percentile in of.percentiles
            )
            if points:
                x, y, text = zip(*points, strict=True)
                line = line_of(f"p{percentile:g}", _rounded(x), _rounded(y), number)
                lines.append(line | {"mode": "lines+markers", "text": text, "hovertemplate": "%{text}<br>%{y:.4g} ms"})
        if lines:
            figures.append(figure_of(f"{TITLES[field]} and throughput", "whole answers/s", "ms", lines))
    return figures


def distributions(run: RunSummary, grids: Mapping[int, Grid]) -> list[Figure]:
    """Cumulative distributions, a line a stage: of every request where there are records, else of the percentiles."""
    figures = []
    edges_ms = bin_edges()[1:] * 1e3
    for field, title in TITLES.items():
        lines = []
        for number, stage in enumerate(run.stages):
            grid = grids.get(stage.index)
            total = grid.counts[field].sum(axis=0) if grid is not None else np.zeros(BINS)
            if total.sum():
                there = np.flatnonzero(total)
                inner = slice(max(0, there[0] - 1), there[-1] + 1)
                shares = np.cumsum(total)[inner] / total.sum()
                lines.append(line_of(_label(stage), _rounded(edges_ms[inner]), _rounded(shares), number))
            elif (of := getattr(stage.metrics, field)) is not None:
                ladder = sorted(of.percentiles.items())
                x, y = [v * 1e3 for _, v in ladder], [p / 100 for p, _ in ladder]
                lines.append(line_of(_label(stage), _rounded(x), _rounded(y), number))
        if lines:
            figure = figure_of(title, "ms", "share of values", lines)
            figure["layout"]["xaxis"]["type"] = "log"
            figure["layout"]["yaxis"] |= {"range": [0, 1.01], "tickformat": ".0%"}
            figures.append(figure)
    return figures


def over_time(grids: Mapping[int, Grid]) -> list[Figure]:
    """Percentiles by when requests were due, all stages one after the other."""
    figures = []
    shares = (0.5, 0.9, 0.99)
    for field in ("ttft", "itl", "e2e", "schedule_delay"):
        times: list[float] = []
        values: list[list[float]] = [[], [], []]
        for grid in grids.values():
            times += [*_middles(grid), grid.stretch.end_s]
            found = percentiles(grid.counts[field], shares) * 1e3
            for number in range(len(shares)):
                # NaN ends a line: nothing was measured between two stages.
                values[number] += [*found[:, number].tolist(), float("nan")]
        if any(v == v for v in values[0]):
            lines = [
                line_of(f"p{share * 100:g}", _rounded(times), _rounded(values[number]), number)
                for number, share in enumerate(shares)
            ]
            figures.append(figure_of(f"{TITLES[field]} over time", "s from the start", "ms", lines))
    return figures


def heatmaps(grids: Mapping[int, Grid]) -> list[Figure]:
    """How many requests, by when they were due and how long they took: what percentiles hide, as two modes."""
    figures = []
    for field in ("ttft", "e2e"):
        total = sum(grid.counts[field].sum(axis=0) for grid in grids.values()) if grids else np.zeros(BINS)
        there = np.flatnonzero(total)
        if not len(there):
            continue
        low, high = int(there[0]), int(there[-1]) + 1
        wide = max(1, -(-(high - low) // HEAT_ROWS))
        starts = np.arange(low, high, wide)
        columns, times = [], []
        for grid in grids.values():
            columns.append(np.add.reduceat(grid.counts[field][:, low:high], starts - low, axis=1))
            times += _middles(grid)
        z = np.concatenate(columns).T
        middles_ms = bin_edges()[starts] * RATIO ** (wide / 2) * 1e3
        trace = {
            "type": "heatmap", "x": _rounded(times), "y": _rounded(middles_ms),
            "z": [[int(v) or None for v in row] for row in z], "colorscale": "Viridis", "showscale": True,
            "hovertemplate": "%{x:.4g} s, %{y:.4g} ms: %{z}<extra></extra>",
        }  # fmt: skip
        figure = figure_of(f"{TITLES[field]}: requests by time and latency", "s from the start", "ms", [trace])
        figure["layout"]["yaxis"]["type"] = "log"
        figures.append(figure)
    return figures


def throughput(grids: Mapping[int, Grid]) -> list[Figure]:
    """What was asked and what was whole, per second."""
    lines = []
    for number, (name, field) in enumerate((("sent", "requests"), ("whole", "whole"))):
        times = [t for grid in grids.values() for t in (*_middles(grid), grid.stretch.end_s)]
        values = [v / grid.block_s for grid in grids.values() for v in (*getattr(grid, field).tolist(), float("nan"))]
        lines.append(line_of(name, _rounded(times), _rounded(values), number))
    return [figure_of("Requests by when they were due", "s from the start", "1/s", lines)] if grids else []


def _middles(grid: Grid) -> list[float]:
    return [float(grid.stretch.begin_s + (k + 0.5) * grid.block_s) for k in range(grid.blocks)]


def _label(stage: StageSummary) -> str:
    return stage_name(stage) + ("" if stage.verdict.valid else " (INVALID)")


def _rounded(values: Any) -> list[float | None]:
    """Six digits, and null for what is absent: a page of a long run stays small."""
    return [float(f"{v:.6g}") if v == v else None for v in (float(v) for v in values)]


def line_of(name: str, x: Any, y: Any, number: int) -> dict[str, Any]:
    """The n-th line of a figure."""
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y,
        "line": {"color": COLOURS[number % len(COLOURS)], "width": 2},
    }  # fmt: skip


def figure_of(title: str, x: str, y: str, traces: list[dict[str, Any]]) -> Figure:
    """`x` and `y`: titles of the axes."""
    return {
        "data": traces,
        "layout": {
            "title": {"text": title, "font": {"size": 15}, "x": 0.02},
            "xaxis": {"title": {"text": x}, "automargin": True},
            "yaxis": {"title": {"text": y}, "automargin": True},
            "height": 330, "margin": {"l": 50, "r": 16, "t": 44, "b": 44}, "legend": {"orientation": "h", "y": -0.25},
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
            "showlegend": len(traces) > 1,
        },
    }  # fmt: skip
