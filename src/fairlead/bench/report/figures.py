"""Plots of a run as Plotly figures in plain JSON form, from its summary and from counts over time and value.

Colours of text and grids are the page's own, which knows whether it is light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead.bench.report.words import stage_name
from fairlead.bench.results.grid import BINS, RATIO, Grid, bin_edges, percentiles
from fairlead.bench.summary import Distribution, RunSummary, StageSummary

Figure = dict[str, Any]

COLOURS = ("#4c7df0", "#e8743b", "#2fa56b", "#a46be0", "#c9a227", "#e0567c", "#35a9bf", "#8b93a3")
TITLES = {
    "ttft": "Time to first token", "ttft_from_due": "Time to first token, from due", "itl": "Inter-token latency",
    "tpot": "Time per output token", "e2e": "End-to-end latency", "schedule_delay": "Schedule delay (sent − due)",
}  # fmt: skip
HEAT_ROWS, MOST_STEPS = 60, 200
HOLLOW = "hollow"
"""A marker's colour, for which a page takes its own ground."""


def curves(run: RunSummary) -> list[Figure]:
    """Latency against throughput, a point a stage in the order of their loads: the knee is where a little more
    throughput costs much latency, and where a server is asked too much the line turns back."""
    figures = []
    order = sorted(run.stages, key=lambda s: s.intended if s.intended == s.intended else s.index)
    for field in ("ttft", "itl", "e2e"):
        lines = []
        for number, percentile in enumerate((50.0, 90.0, 99.0)):
            points = [
                (stage, of)
                for stage in order
                if (of := getattr(stage.metrics, field)) is not None and percentile in of.percentiles
            ]
            if points:
                lines.append(_curve(points, percentile, number))
        if lines:
            figure = figure_of(f"{TITLES[field]} and throughput", "whole answers/s", "ms", lines)
            figure["layout"]["yaxis"]["rangemode"] = "tozero"
            figures.append(figure)
    return figures


def _curve(points: Sequence[tuple[StageSummary, Distribution]], percentile: float, number: int) -> dict[str, Any]:
    """One percentile of all stages with its intervals; an invalid stage has a hollow marker."""
    values = [of.percentiles[percentile] * 1e3 for _, of in points]
    around = [of.intervals.get(percentile) for _, of in points]
    colour = COLOURS[number % len(COLOURS)]
    line = line_of(f"p{percentile:g}", _rounded(s.metrics.requests_per_s for s, _ in points), _rounded(values), number)
    above = (each.high * 1e3 - v if each is not None else 0.0 for each, v in zip(around, values, strict=True))
    below = (v - each.low * 1e3 if each is not None else 0.0 for each, v in zip(around, values, strict=True))
    return line | {
        "mode": "lines+markers",
        "text": [_label(stage) for stage, _ in points],
        "hovertemplate": "%{text}<br>%{y:.4g} ms",
        "marker": {
            "size": 8, "line": {"color": colour, "width": 2},
            "color": [colour if stage.verdict.valid else HOLLOW for stage, _ in points],
        },
        "error_y": {
            "type": "data", "symmetric": False, "array": _rounded(max(0.0, v) for v in above),
            "arrayminus": _rounded(max(0.0, v) for v in below), "thickness": 1, "width": 3, "color": colour,
        },
    }  # fmt: skip


def distributions(run: RunSummary, grids: Mapping[int, Grid]) -> list[Figure]:
    """Cumulative distributions, a line a stage: of every request where there are records, else of the percentiles."""
    figures = []
    many = len(run.stages) > len(COLOURS)
    for field, title in TITLES.items():
        lines = []
        for number, stage in enumerate(run.stages):
            grid = grids.get(stage.index)
            total = grid.counts[field].sum(axis=0) if grid is not None else np.zeros(BINS)
            if total.sum():
                x, y = cumulated(total)
            elif (of := getattr(stage.metrics, field)) is not None:
                ladder = sorted(of.percentiles.items())
                x, y = _rounded(v * 1e3 for _, v in ladder), _rounded(p / 100 for p, _ in ladder)
            else:
                continue
            line = line_of(_label(stage), x, y, number)
            if many:
                line["line"]["color"] = _shade(number / (len(run.stages) - 1))
            if not stage.verdict.valid:
                line["line"]["dash"] = "dot"
            lines.append(line)
        if lines:
            figure = figure_of(title, "ms", "share of values", lines)
            figure["layout"]["xaxis"] |= log_axis(lines)
            figure["layout"]["yaxis"] |= {"range": [0, 1.01], "tickformat": ".0%"}
            figures.append(figure)
    return figures


def cumulated(counts: Any) -> tuple[list[float | None], list[float | None]]:
    """Of counts by a grid's bins: milliseconds, and the share of values up to them. Without the points in which nothing
    happens: a page of many stages stays small."""
    there = np.flatnonzero(counts)
    inner = slice(max(0, int(there[0]) - 1), int(there[-1]) + 1)
    x, y = bin_edges()[1:][inner] * 1e3, np.cumsum(counts)[inner] / counts.sum()
    rises = np.flatnonzero(np.diff(y, prepend=-1.0) > 0)
    wide = -(-len(rises) // MOST_STEPS)
    kept = np.unique(np.concatenate([rises[::wide], rises[-1:], np.maximum(rises[::wide] - 1, 0)]))
    return _rounded(x[kept]), _rounded(y[kept])


def _shade(at: float) -> str:
    """From blue over green to red: of many stages, in the order of their loads."""
    stops = ((76, 125, 240), (47, 165, 107), (232, 116, 59), (200, 40, 60))
    place = at * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    part = place - low
    mixed = (round(a + (b - a) * part) for a, b in zip(stops[low], stops[low + 1], strict=True))
    return f"rgb({','.join(str(v) for v in mixed)})"


def log_axis(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Logarithmic, with numbers that one would write: 20, 50, 100."""
    values = [v for line in lines for v in line["x"] if v]
    low, high = min(values, default=1.0), max(values, default=1.0)
    if high / low < 3:
        # So little of a decade that even steps are the readable ones.
        rough = (high - low or high) / 5
        step = min(
            (n * 10.0 ** math.floor(math.log10(rough)) for n in (1, 2, 5, 10)), key=lambda n: abs(math.log(n / rough))
        )
        ticks = [step * k for k in range(math.floor(low / step), math.ceil(high / step) + 1)]
    else:
        ticks = [
            step * 10.0**power
            for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
            for step in ((1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 6, 8))
        ]
    shown = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
    return {"type": "log", "tickvals": shown, "ticktext": [f"{tick:.6g}" for tick in shown]}


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
        figure["layout"]["yaxis"] |= log_axis([{"x": trace["y"]}])
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


def with_stages(run: RunSummary, over_time: Sequence[Figure]) -> list[Figure]:
    """Figures over time, with where stages begin, and what of it is invalid."""
    shapes: list[dict[str, Any]] = []
    whole = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1}
    for number, stage in enumerate(run.stages):
        if number:
            line = {"color": "rgba(128,128,128,0.6)", "width": 1, "dash": "dot"}
            shapes.append(whole | {"type": "line", "x0": stage.begin_s, "x1": stage.begin_s, "line": line})
        if not stage.verdict.valid:
            box = {"x0": stage.begin_s, "x1": stage.end_s, "line": {"width": 0}, "fillcolor": "rgba(220,40,40,0.14)"}
            shapes.append(whole | {"type": "rect", "layer": "below"} | box)
    return [figure | {"layout": figure["layout"] | {"shapes": shapes}} for figure in over_time]


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
