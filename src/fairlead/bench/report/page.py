"""The page of a run: one file that needs no network, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import msgspec

from fairlead.bench.measure.formulas import FORMULAS
from fairlead.bench.report import figures, tables
from fairlead.bench.report.honesty import best_stage, notes
from fairlead.bench.report.scaling_page import scaling_figures, scaling_section
from fairlead.bench.report.server_figures import server_figures
from fairlead.bench.report.server_page import cost_words, engines_of, server_section
from fairlead.bench.report.shell import Plots, page
from fairlead.bench.report.words import at, number, seconds, share, stage_name
from fairlead.bench.results.grid import Grid
from fairlead.bench.summary import RunSummary

OPEN_NOTES, OPEN_STAGES = 4, 4
"""With more of them they are folded."""
CURVES = "Bars are intervals of 95 %. A hollow marker is an invalid stage: the client, not the server, was measured."
FIGURES = (
    "±: how far the interval of 95 % goes to its further side; without it, too few requests tell. Point at a name for "
    "its formula; all formulas are at the end."
)
STAGES = "Dotted lines are where stages begin; what is shaded red is invalid."
DECISIONS = {"kept": "good", "failed": "warn", "saturated": "warn", "invalid": "bad"}


def report_page(run: RunSummary, grids: Mapping[int, Grid]) -> str:
    """`grids`: of the run's records by stage; without them there are no plots over time."""
    plots = Plots()
    title = run.name or run.id
    over_time = [*figures.throughput(grids), *figures.over_time(grids), *figures.heatmaps(grids)]
    sections = [
        f'<h1>{escape(title)}</h1><p class="about">{escape(f"{run.id} · {run.began} · {seconds(run.seconds)}")}</p>',
        _banner(run),
        _cards(run),
        _notes(run),
        f"<h2>Stages</h2>{tables.stages(run)}",
        _search(run),
        plots.section("Scaling", scaling_figures(run, grids)),
        scaling_section(run),
        plots.section("Latency and throughput", figures.curves(run) if len(run.stages) > 1 else [], CURVES),
        plots.section("Distributions", figures.distributions(run, grids)),
        plots.section("Over time", figures.with_stages(run, over_time), STAGES if len(run.stages) > 1 else ""),
        plots.section("Servers", server_figures([series for series in run.server if series.unit != "replicas"])),
        server_section(run),
        *_details(run),
        f"<h2>Environment</h2>{tables.facts(run.environment)}",
        f"<h2>Configuration</h2><pre>{escape(msgspec.yaml.encode(run.config).decode())}</pre>",
        f"<h2>Formulas</h2>{tables.facts({tables.FIGURES.get(k, k): v for k, v in FORMULAS.items()})}",
    ]
    return page(title, sections, plots)


def _banner(run: RunSummary) -> str:
    """What must be seen before any figure."""
    bad = [] if run.ended == "complete" else [f"The run was {run.ended}: {run.why_ended}"]
    invalid = [stage for stage in run.stages if not stage.verdict.valid]
    bad += [f"{stage_name(stage)}: {reason}" for stage in invalid for reason in stage.verdict.reasons]
    if not bad:
        return ""
    count, all_of = len(invalid), len(run.stages)
    title = f"The run was {run.ended}"
    if invalid:
        which = (
            "the only stage"
            if count == all_of == 1
            else f"{count} of {all_of} stages"
            if count < all_of
            else "all stages"
        )
        title = f"INVALID: do not use the figures of {which}: the client, not the server, was measured"
    items = "".join(f"<li>{escape(text)}</li>" for text in bad)
    return f'<div class="bad-banner"><strong>{escape(title)}</strong><ul>{items}</ul></div>'


def _notes(run: RunSummary) -> str:
    """Folded where there are many: each stage has its own as figures too."""
    grouped = [(", ".join(stages), text) for stages, text in notes(run)] + [("", text) for text in run.notes]
    if not grouped:
        return ""
    items = "".join(
        f"<li>{f'<b>{escape(stages)}</b>: ' if stages else ''}{escape(text)}</li>" for stages, text in grouped
    )
    said = (
        f"{len(grouped)} notes to be read with these figures" if len(grouped) > 1 else "To be read with these figures"
    )
    opened = " open" if len(grouped) <= OPEN_NOTES else ""
    return f'<details class="note"{opened}><summary>{said}</summary><ul>{items}</ul></details>'


def _cards(run: RunSummary) -> str:
    """Of the whole run, and of the stage that stands for it."""
    requests = sum(stage.metrics.requests for stage in run.stages)
    whole = sum(stage.metrics.whole for stage in run.stages)
    cards = [("requests whole", f"{number(whole)} of {number(requests)}")]
    if run.search is not None:
        cards.append((f"highest {run.search.of} that kept the objective", number(run.search.best)))
    said = ""
    if (found := best_stage(run)) is not None:
        best, why = found
        of = best.metrics
        if len(run.stages) > 1:
            said = f'<p class="legend">Latencies and rates of {escape(stage_name(best))}: {escape(why)}.</p>'
        cards += [
            ("output tok/s", number(of.output_tokens_per_s)),
            ("TTFT p50 / p99", f"{at(of.ttft, 50.0)} / {at(of.ttft, 99.0)}"),
            ("ITL p50 / p99", f"{at(of.itl, 50.0)} / {at(of.itl, 99.0)}"),
            ("E2E p50 / p99", f"{at(of.e2e, 50.0)} / {at(of.e2e, 99.0)}"),
        ]
        if of.goodput is not None:
            cards.append(("requests within the objective", share(round(of.goodput.attainment, 4))))
    if run.cost_per_million_tokens is not None:
        cards.append(("cost per million output tokens", cost_words(run)))
    if run.joules_per_token is not None:
        cards.append(("joules per output token", number(run.joules_per_token)))
    inner = "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(n)}</span></div>' for n, v in cards)
    return f'<div class="cards">{inner}</div>{said}'


def _search(run: RunSummary) -> str:
    found = run.search
    if found is None:
        return ""
    said = f"Highest load that kept the objective: {number(found.best)}; lowest that did not: {number(found.failed)}. "
    rows = (
        (str(k), number(step.load), tables.Mark(step.decision, DECISIONS.get(step.decision, "")), step.why)
        for k, step in enumerate(found.steps, 1)
    )
    steps = tables.table(("step", found.of, "decision", "why"), rows)
    return f"<h2>Search</h2><p>{escape(said + found.why_ended)}</p>{steps}"


def _details(run: RunSummary) -> list[str]:
    """Each stage by itself: folded where there are many."""
    many = len(run.stages) > OPEN_STAGES
    shown = [f'<h2>Stages one by one</h2><p class="legend">{escape(FIGURES)}</p>'] if many else []
    for stage in run.stages:
        inner = (
            tables.latencies(stage, FORMULAS)
            + tables.honesty(stage)
            + tables.failures(stage)
            + tables.parts("target", stage.by_target)
            + engines_of(run, stage)
            + tables.parts("adapter", stage.by_adapter)
            + tables.parts("turn", {str(turn): metrics for turn, metrics in stage.by_turn.items()})
        )
        of = stage.metrics
        title = f"{escape(stage_name(stage))} {tables.verdict(stage).html()}"
        if many:
            said = f"TTFT {at(of.ttft, 50.0)} / {at(of.ttft, 99.0)}, E2E {at(of.e2e, 50.0)} / {at(of.e2e, 99.0)}"
            shown.append(
                f'<details><summary>{title} <span class="legend">{escape(said)}</span></summary>{inner}</details>'
            )
        else:
            shown.append(f'<h2>{title}</h2><p class="legend">{escape(FIGURES)}</p>{inner}')
    return shown
