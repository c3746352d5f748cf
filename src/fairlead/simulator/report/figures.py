"""Plots of a report as Plotly figures in plain JSON form: data and layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.simulator.fleet.summary import Distribution, Summary

Figure = dict[str, Any]

COLOURS = ("#2456c4", "#d9622b", "#2a8f5b", "#8a4fbf", "#b8962e", "#c23a5e", "#3a9db0", "#6b7280")
_INK, _GRID = "#27303f", "#e6e9ef"
_TITLES = {
    "ttft_s": "Time to first token",
    "itl_s": "Inter-token latency",
    "tpot_s": "Time per output token",
    "e2e_s": "End-to-end latency",
}


def latency_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Cumulative distributions, one line per study, with the objective where there is one."""
    figures = []
    for field, title in _TITLES.items():
        traces = []
        for number, summary in enumerate(summaries):
            distribution: Distribution = getattr(summary, field)
            if distribution.count:
                scale, unit = _scale(summaries, field)
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "lines",
                        "name": _label(summary, summaries),
                        "x": [round(value * scale, 4) for value, _ in distribution.cdf],
                        "y": [round(share, 6) for _, share in distribution.cdf],
                        "line": {"color": COLOURS[number % len(COLOURS)], "width": 2, "shape": "hv"},
                        "hovertemplate": "%{x:.4g} " + unit + ": %{y:.2%}<extra>%{fullData.name}</extra>",
                    }
                )
        if traces:
            scale, unit = _scale(summaries, field)
            layout = _layout(f"{title} ({unit})", f"{title}, {unit}", "share of observations", len(summaries) > 1)
            layout["xaxis"]["type"] = "log"
            layout["yaxis"].update({"range": [0, 1.01], "tickformat": ".0%"})
            if (limit_s := _limit_s(summaries[0], field)) is not None:
                layout["shapes"] = [_mark(limit_s * scale)]
            figures.append({"data": traces, "layout": layout})
    return figures


def series_figures(summary: Summary) -> list[Figure]:
    """What happened over time, of one study."""
    time_s = summary.series["time_s"]

    def lines(title: str, axis: str, fields: Sequence[tuple[str, str]], **more: Any) -> Figure:
        traces = [
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": time_s,
                "y": [None if value is None else round(value, 5) for value in summary.series[field]],
                "line": {"color": COLOURS[number % len(COLOURS)], "width": 1.6},
            }
            for number, (field, name) in enumerate(fields)
        ]
        layout = _layout(title, "time, s", axis, len(fields) > 1)
        layout["yaxis"].update({"rangemode": "tozero", **more})
        return {"data": traces, "layout": layout}

    return [
        lines(
            "Load",
            "requests/s",
            [("arrivals_per_s", "arrive"), ("finished_per_s", "finish"), ("lost_per_s", "fail or leave")],
        ),
        lines(
            "Requests in the system",
            "requests",
            [("running_requests", "running"), ("waiting_requests", "waiting in engines"), ("held_requests", "held")],
        ),
        lines("Time to first token", "s", [("ttft_mean_s", "mean"), ("ttft_max_s", "longest")]),
        lines("Output", "tokens/s", [("output_tokens_per_s", "tokens")]),
        lines("KV cache in use", "share", [("kv_cache_usage_ratio", "mean of engines")], tickformat=".0%"),
        lines("Replicas", "replicas", [("ready_replicas", "ready"), ("starting_replicas", "starting")]),
    ]


def replica_figure(summary: Summary) -> Figure:
    """How evenly the requests of a study were spread."""
    layout = _layout("Requests sent to each replica", "", "requests", False)
    return {
        "data": [
            {
                "type": "bar",
                "x": [replica.name for replica in summary.replicas],
                "y": [replica.picks for replica in summary.replicas],
                "marker": {"color": COLOURS[0]},
            }
        ],
        "layout": layout,
    }


def label(summary: Summary) -> str:
    """What tells a study from others beside it."""
    return summary.variant or summary.policy


def _label(summary: Summary, summaries: Sequence[Summary]) -> str:
    return label(summary) if len(summaries) > 1 else summary.name


def _scale(summaries: Sequence[Summary], field: str) -> tuple[float, str]:
    """Milliseconds for what is mostly below a second."""
    medians = [m for s in summaries if (m := getattr(s, field).p50) is not None]
    return (1e3, "ms") if medians and max(medians) < 1 else (1.0, "s")


def _limit_s(summary: Summary, field: str) -> float | None:
    name = {"ttft_s": "ttft", "tpot_s": "itl", "e2e_s": "e2e"}.get(field)
    return next((o.limit_s for o in summary.objectives if o.name == name), None)


def _mark(x: float) -> dict[str, Any]:
    return {
        "type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": "#c23a5e", "width": 1.5, "dash": "dash"},
    }  # fmt: skip


def _layout(title: str, x: str, y: str, legend: bool) -> dict[str, Any]:
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "automargin": True}
    return {
        "title": {"text": title, "x": 0, "xref": "paper", "font": {"size": 15}},
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": _INK},
        "margin": {"l": 56, "r": 16, "t": 44, "b": 84 if legend else 44},
        "height": 360 if legend else 320,
        "showlegend": legend,
        "legend": {"orientation": "h", "y": -0.26, "x": 0, "xanchor": "left", "yanchor": "top"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
    }
