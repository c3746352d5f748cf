"""What scaled during a run, on its page: load, replicas and service on one axis of time, and the lives of pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fairlead.bench.report import tables
from fairlead.bench.report.figures import COLOURS, Figure
from fairlead.bench.report.scaling_words import scaling_lines, scaling_tables
from fairlead.bench.results.grid import Grid, percentiles
from fairlead.bench.scaling_summary import PodLife, ScalingSummary
from fairlead.bench.summary import RunSummary

MOST_PODS = 60
"""That have a line of their own in a plot."""
GRID = "rgba(128,128,128,0.25)"
PHASES = (
    ("waiting for a node", "created", "scheduled", COLOURS[7]),
    ("starting containers", "scheduled", "started", COLOURS[4]),
    ("loading", "started", "ready", COLOURS[1]),
    ("ready", "ready", "leaving", COLOURS[2]),
    ("draining", "leaving", "gone", COLOURS[5]),
)


def scaling_section(run: RunSummary) -> str:
    """Tables and sentences; empty where nothing was watched."""
    if run.scaling is None:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in scaling_lines(run.scaling))
    shown = "".join(f"<h3>{escape(t.title)}</h3>{tables.table(t.head, t.rows)}" for t in scaling_tables(run.scaling))
    return f"<ul>{lines}</ul>{shown}"


def scaling_figures(run: RunSummary, grids: Mapping[int, Grid]) -> list[Figure]:
    """One of what happened when, on one axis, and one of the pods."""
    if run.scaling is None or not run.scaling.slices:
        return []
    return [_together(run.scaling, grids), *_pods(run.scaling)]


def _together(found: ScalingSummary, grids: Mapping[int, Grid]) -> Figure:
    middles = [(s.begin_s + s.end_s) / 2 for s in found.slices]
    rows: list[tuple[str, list[dict[str, Any]]]] = [
        ("requests due, 1/s", [_line("due", middles, [s.due_per_s for s in found.slices], 0)]),
        ("replicas", _replicas(found)),
    ]
    good = [None if not s.judged else (s.good or 0) / s.judged for s in found.slices]
    if any(value is not None for value in good):
        rows.append(("share that kept the objective", [_line("good", middles, good, 6)]))
    rows.append(("TTFT from due, s", _ttft(found, middles, grids)))
    return _stacked("Load, replicas and service", rows, _marks(found))


def _replicas(found: ScalingSummary) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for workload in found.workloads:
        named = f" ({workload.name})" if len(found.workloads) > 1 else ""
        kinds: tuple[tuple[str, Sequence[float | int | None], str], ...] = (
            ("wanted", workload.desired, "dot"),
            ("on nodes", workload.allocated, "dash"),
            ("ready", workload.ready, "solid"),
        )
        colours = (3, 4, 2) if len(found.workloads) == 1 else tuple(range(len(traces), len(traces) + 3))
        times = [*workload.times_s, found.all.end_s]
        for colour, (kind, values, dash) in zip(colours, kinds, strict=True):
            trace = _line(kind + named, times, [*values, values[-1]], colour)
            trace["line"] |= {"shape": "hv", "dash": dash}
            traces.append(trace)
    return traces


def _ttft(found: ScalingSummary, middles: Sequence[float], grids: Mapping[int, Grid]) -> list[dict[str, Any]]:
    """Percentiles where there are records, else means."""
    if not grids:
        return [_line("TTFT mean", middles, [s.ttft_mean_s for s in found.slices], 1)]
    traces = []
    for number, of in enumerate((0.5, 0.99)):
        times: list[float] = []
        values: list[float | None] = []
        for grid in grids.values():
            times += [grid.stretch.begin_s + (k + 0.5) * grid.block_s for k in range(grid.blocks)]
            found_s = percentiles(grid.counts["ttft_from_due"], (of,))[:, 0].tolist()
            values += [value if value == value else None for value in found_s]
        traces.append(_line(f"TTFT p{of * 100:g}", times, values, 1 + 4 * number) | {"connectgaps": True})
    return traces


def _marks(found: ScalingSummary) -> list[dict[str, Any]]:
    """A line at each step of a wanted number, and bands where nobody could look."""
    marks: list[dict[str, Any]] = [
        {
            "type": "line", "xref": "x", "yref": "paper", "x0": step.at_s, "x1": step.at_s, "y0": 0, "y1": 1,
            "line": {"color": COLOURS[2 if step.after > step.before else 5], "width": 1, "dash": "dot"},
        }
        for workload in found.workloads
        for step in workload.steps[:200]
    ]  # fmt: skip
    marks += [
        {
            "type": "rect", "xref": "x", "yref": "paper", "x0": begin_s, "x1": end_s, "y0": 0, "y1": 1,
            "fillcolor": GRID, "line": {"width": 0}, "layer": "below",
        }
        for workload in found.workloads
        for begin_s, end_s in workload.blind[:50]
    ]  # fmt: skip
    return marks


def _pods(found: ScalingSummary) -> list[Figure]:
    """A line a pod: where its time went."""
    lives = [life for workload in found.workloads for life in workload.pods][:MOST_PODS]
    if not lives:
        return []
    end_s = found.all.end_s
    traces = []
    for title, first, last, colour in PHASES:
        bars = [bar for life in lives if (bar := _bar(life, first, last, end_s)) is not None]
        if bars:
            traces.append(
                {
                    "type": "bar", "orientation": "h", "name": title, "y": [bar[0] for bar in bars],
                    "base": _rounded([bar[1] for bar in bars]), "x": _rounded([bar[2] for bar in bars]),
                    "marker": {"color": colour}, "hovertemplate": "%{y}: %{x:.3g} s<extra>" + title + "</extra>",
                }
            )  # fmt: skip
    layout = _layout("Lives of pods", 190 + 18 * len(lives))
    layout["margin"] |= {"t": 100}
    layout |= {
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom"},
        "barmode": "overlay", "xaxis": _axis("s from the start") | {"range": [0, end_s]},
        "yaxis": _axis("") | {"autorange": "reversed", "type": "category"},
    }  # fmt: skip
    return [{"data": traces, "layout": layout}]


def _bar(life: PodLife, first: str, last: str, end_s: float) -> tuple[str, float, float] | None:
    """Pod, from when, how long; of a moment that has not come, up to the next one that has."""
    order = ("created", "scheduled", "started", "ready", "leaving", "gone")
    begin_s = life.at(first)
    if begin_s is None:
        return None
    later = (at_s for name in order[order.index(last) :] if (at_s := life.at(name)) is not None)
    begin_s, until_s = max(0.0, begin_s), min(end_s, next(later, end_s))
    return (life.name, begin_s, until_s - begin_s) if until_s > begin_s else None


def _stacked(title: str, rows: Sequence[tuple[str, list[dict[str, Any]]]], marks: list[dict[str, Any]]) -> Figure:
    """Plots one above the other that share the axis of time."""
    layout = _layout(title, 150 * len(rows) + 90)
    gap = 0.05
    each = (1 - gap * (len(rows) - 1)) / len(rows)
    traces = []
    for number, (name, lines) in enumerate(rows):
        top = 1 - number * (each + gap)
        key = "" if number == 0 else str(number + 1)
        axis = _axis(name) | {"domain": [max(0.0, top - each), top], "rangemode": "tozero", "zeroline": False}
        axis["title"] |= {"font": {"size": 11}}
        layout[f"yaxis{key}"] = axis
        traces += [line | {"xaxis": "x", "yaxis": f"y{key}"} for line in lines]
    last = "y" if len(rows) == 1 else f"y{len(rows)}"
    layout["xaxis"] = _axis("s from the start") | {"anchor": last}
    layout |= {"shapes": marks, "hovermode": "x unified"}
    return {"data": traces, "layout": layout}


def _layout(title: str, height: int) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 15}, "x": 0.02}, "height": height,
        "margin": {"l": 60, "r": 16, "t": 44, "b": 44}, "legend": {"orientation": "h", "y": -60 / height},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "showlegend": True,
    }  # fmt: skip


def _axis(title: str) -> dict[str, Any]:
    return {"title": {"text": title}, "automargin": True, "gridcolor": GRID}


def _line(name: str, x: Sequence[float], y: Sequence[float | int | None], number: int) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": _rounded(x), "y": _rounded(y),
        "line": {"color": COLOURS[number % len(COLOURS)], "width": 2},
    }  # fmt: skip


def _rounded(values: Sequence[float | int | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.6g}") for value in values]
