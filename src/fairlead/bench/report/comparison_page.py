"""The page of a comparison: one file that needs no network, with how large each change is and how sure, and the
distributions of the compared stages on each other."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from fairlead.bench.report import tables
from fairlead.bench.report.comparison import HOW, bases, row, verdict
from fairlead.bench.report.figures import COLOURS, TITLES, cumulated, figure_of, line_of, log_axis
from fairlead.bench.report.shell import Figure, Plots, page
from fairlead.bench.results.compare import Change, Comparison, Side

KINDS = {"better": "good", "worse": "warn", "untested": "warn"}
BAD, GOOD, CHANGED, SAME = "#d0342c", COLOURS[2], COLOURS[4], COLOURS[7]
HEADS = {
    "p": "the chance of so great a difference between equal servers, corrected for the number of figures (Holm)",
    "seen": "the least change that would be found in 4 of 5 cases",
}
MOST_STAGES = 6
"""Whose distributions are drawn: the ones with the highest loads tell most."""


def comparison_page(base: Side, others: Sequence[tuple[Side, Comparison]]) -> str:
    """Of one run that others are compared with."""
    plots = Plots()
    name = base.run.name or base.run.id
    sections = [
        f"<h1>Against {escape(name)}</h1>",
        f'<p class="about">{escape(base.run.id)} · {escape(base.run.began)}</p>',
    ]
    for side, found in others:
        sections += _one(base, side, found, plots)
    return page(f"Against {name}", sections, plots)


def _one(base: Side, other: Side, found: Comparison, plots: Plots) -> list[str]:
    title = other.run.name or other.run.id
    sections = [f"<h2>{escape(title)}</h2>", _banner(found)]
    if found.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
        sections.append(f'<details class="note" open><summary>To be read with it</summary><ul>{items}</ul></details>')
    if not found.changes:
        return sections
    how = f"A point is a change, its bar the interval of 95 %. {HOW}{'; '.join(bases(found))}."
    sections.append(plots.section("How much, and how sure", _changes(found), how))
    for stage in dict.fromkeys(change.stage for change in found.changes):
        rows = [_row(change) for change in found.changes if change.stage == stage]
        head = (stage, "before", "after", "change [95 %]", "p", "seen", "judged")
        sections.append(f"<h3>{escape(stage)}</h3>{tables.table(head, rows, HEADS)}")
    sections.append(plots.section("Distributions", _distributions(base, other, found)))
    return sections


def _banner(found: Comparison) -> str:
    if found.refusals:
        items = "".join(f"<li>{escape(refusal)}</li>" for refusal in found.refusals)
        return f'<div class="bad-banner"><strong>Not comparable, in all or part</strong><ul>{items}</ul></div>'
    if found.regressions:
        return f'<div class="bad-banner"><strong>{escape(verdict(found))}</strong></div>'
    return f'<p><span class="mark good">{escape(verdict(found))}</span></p>'


def _row(change: Change) -> tuple[tables.Cell, ...]:
    *cells, said = row(change)
    kind = "bad" if change.regressed else KINDS.get(change.judgement, "")
    return (*cells, tables.Mark(said, kind) if kind else said)


def _changes(found: Comparison) -> list[Figure]:
    """A plot a stage: the changes of its figures in per cent (points of shares), each with its interval."""
    figures = []
    for stage in dict.fromkeys(change.stage for change in found.changes):
        mine = [change for change in found.changes if change.stage == stage][::-1]
        values = [change.test.change * 100 for change in mine]
        above = [(change.test.high or change.test.change) * 100 - v for change, v in zip(mine, values, strict=True)]
        below = [v - (change.test.low or change.test.change) * 100 for change, v in zip(mine, values, strict=True)]
        trace: dict[str, Any] = {
            "type": "scatter", "mode": "markers", "x": [_six(v) for v in values],
            "y": [change.figure.replace("_from_due", " due") for change in mine],
            "marker": {"size": 9, "color": [_colour(change) for change in mine]},
            "error_x": {
                "type": "data", "symmetric": False, "array": [_six(max(0.0, v)) for v in above],
                "arrayminus": [_six(max(0.0, v)) for v in below], "thickness": 1.5, "width": 4, "color": SAME,
            },
            "hovertemplate": "%{y}: %{x:+.3g}<extra></extra>",
        }  # fmt: skip
        figure = figure_of(stage, "change, % (shares: points)", "", [trace])
        zero = {"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1}
        figure["layout"] |= {"height": 90 + 26 * len(mine), "shapes": [zero | {"line": {"color": SAME, "width": 1}}]}
        figures.append(figure)
    return figures


def _colour(change: Change) -> str:
    if change.regressed:
        return BAD
    return {"better": GOOD, "worse": CHANGED, "untested": CHANGED}.get(change.judgement, SAME)


def _distributions(base: Side, other: Side, found: Comparison) -> list[Figure]:
    """Of every request of both, where records are kept."""
    figures = []
    for one, two in found.pairs[-MOST_STAGES:]:
        before, after = base.grids.get(one), other.grids.get(two)
        if before is None or after is None:
            continue
        name = next((stage.name or f"stage {stage.index}" for stage in base.run.stages if stage.index == one), "")
        for field in ("ttft", "itl", "e2e"):
            totals = [grid.counts[field].sum(axis=0) for grid in (before, after)]
            if not all(np.any(total) for total in totals):
                continue
            lines = []
            for number, (label, total) in enumerate(zip(("before", "after"), totals, strict=True)):
                x, y = cumulated(total)
                lines.append(line_of(label, x, y, number))
            figure = figure_of(f"{TITLES[field]}, {name}", "ms", "share of values", lines)
            figure["layout"]["xaxis"] |= log_axis(lines)
            figure["layout"]["yaxis"] |= {"range": [0, 1.01], "tickformat": ".0%"}
            figures.append(figure)
    return figures


def _six(value: float) -> float:
    return float(f"{value:.6g}")
