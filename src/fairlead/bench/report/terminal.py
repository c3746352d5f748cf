"""A run's figures on a terminal: a table of stages, a table of latencies, and what is wrong with them, in red."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.bench.report.honesty import facts, notes
from fairlead.bench.report.scaling_terminal import show_scaling
from fairlead.bench.report.server_terminal import show_servers
from fairlead.bench.report.words import ABSENT, around, at, load, number, seconds, stage_name
from fairlead.bench.summary import RunSummary, StageSummary

FIGURES = (
    ("TTFT", "ttft"), ("TTFT from due", "ttft_from_due"), ("ITL", "itl"), ("TPOT", "tpot"), ("NTPOT", "ntpot"),
    ("E2E", "e2e"), ("E2E from due", "e2e_from_due"), ("E2E at least", "e2e_at_least"),
    ("sent after due", "schedule_delay"), ("held by the load", "hold"),
)  # fmt: skip
SHOWN = (50.0, 90.0, 99.0)
MOST_PARTS = 16
"""Rows of one table: of a thousand adapters a terminal shows the first."""


def show(run: RunSummary, console: Console, formulas: bool = False) -> None:
    """Print all of it; wraps where the terminal is narrow. `formulas`: of every figure, below it all."""
    title = " ".join(s for s in (run.id, run.name, f"{seconds(run.seconds)}, {run.ended}") if s)
    console.print(Text(title, style="bold"))
    if run.ended != "complete":
        console.print(Text(f"{run.ended}: {run.why_ended}", style="bold red"))
    console.print(_stages(run))
    for stage in run.stages:
        _verdict(stage, console)
        _objective(stage, console)
    for stage in run.stages:
        console.print(_latencies(stage))
        if stage.metrics.failures:
            said = ", ".join(f"{name} {number(count)}" for name, count in sorted(stage.metrics.failures.items()))
            console.print(Text(f"failures: {said}", style="yellow"))
        _parts(stage, console)
        _facts(stage, console)
    if run.search is not None:
        _search(run, console)
    show_servers(run, console)
    show_scaling(run, console)
    for note in notes(run):
        console.print(Text(f"note on {', '.join(note.stages)}: {note.text}", style="dim"))
    for text in run.notes:
        console.print(Text(f"note: {text}", style="dim"))
    if formulas:
        _formulas(console)


def _facts(stage: StageSummary, console: Console) -> None:
    """What the figures above are to be read with, in a line; what is wrong stands out."""
    line = Text("read with: ", style="dim")
    for place, fact in enumerate(facts(stage)):
        bad = fact.value in ("SATURATED", "not steady")
        line.append("; " if place else "")
        line.append(f"{fact.name} {fact.value}", style="yellow" if bad else "dim")
        if bad:
            line.append(f" ({fact.says})", style="yellow")
    console.print(line)


def _parts(stage: StageSummary, console: Console) -> None:
    """A row for each target, adapter and turn, where there are several."""
    for title, by in (("target", stage.by_target), ("adapter", stage.by_adapter), ("turn", stage.by_turn)):
        if not by:
            continue
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in (title, "requests", "whole", "tok/s", "TTFT p50", "TTFT p99", "ITL p50", "E2E p50", "E2E p99"):
            table.add_column(name, justify="left" if name == title else "right", no_wrap=True)
        shown = list(by.items())
        for key, of in shown[:MOST_PARTS]:
            table.add_row(
                Text(str(key) or "(base model)"), number(of.requests), number(of.whole),
                number(of.output_tokens_per_s), at(of.ttft, 50.0), at(of.ttft, 99.0), at(of.itl, 50.0),
                at(of.e2e, 50.0), at(of.e2e, 99.0),
            )  # fmt: skip
        console.print(table)
        if len(shown) > MOST_PARTS:
            console.print(Text(f"and {len(shown) - MOST_PARTS} more: --output json, or the page, has all", style="dim"))


def _formulas(console: Console) -> None:
    from fairlead.bench.measure.formulas import FORMULAS

    table = Table(box=None, pad_edge=False, header_style="bold", title="formulas", title_justify="left")
    table.add_column("figure", no_wrap=True)
    table.add_column("what it is")
    named = {field: title for title, field in FIGURES}
    for field, formula in FORMULAS.items():
        table.add_row(named.get(field, field), Text(formula))
    console.print(table)


def _stages(run: RunSummary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Most stages are named after what they ask for: said once, all has room in 80 columns.
    asked = ["asked"] if any(load(stage).replace(",", "") != stage_name(stage) for stage in run.stages) else []
    for name in ("stage", "", *asked, "sent", "whole", "failed", "req/s", "tok/s", "lag p99", "CPU", "goodput"):
        table.add_column(name, justify="left" if name in ("stage", "") else "right", no_wrap=True)
    for stage in run.stages:
        metrics, client = stage.metrics, stage.client
        failed = metrics.requests - metrics.whole
        busy = f"{client.cpu_share:.0%}" if math.isfinite(client.cpu_share) else ABSENT
        table.add_row(
            Text(stage_name(stage)), _word(stage), *(load(stage) for _ in asked),
            f"{number(stage.achieved_rate_per_s)}/s", number(metrics.whole),
            Text(number(failed), style="yellow" if failed else ""), number(metrics.requests_per_s),
            number(metrics.output_tokens_per_s), seconds(client.lag_p99_s), busy, _goodput(stage),
        )  # fmt: skip
    return table


def _word(stage: StageSummary) -> Text:
    if not stage.verdict.valid:
        return Text("INVALID", style="bold red")
    saturated = stage.drift is not None and stage.drift.saturated
    return Text("saturated", style="yellow") if saturated else Text("valid", style="green")


def _goodput(stage: StageSummary) -> Text:
    goodput = stage.metrics.goodput
    if goodput is None:
        return Text(ABSENT)
    colour = {True: "green", False: "red", None: "yellow"}[goodput.kept]
    said = {True: "kept", False: "not kept", None: "undecided"}[goodput.kept]
    return Text(f"{goodput.attainment:.1%} {said}", style=colour)


def _objective(stage: StageSummary, console: Console) -> None:
    goodput = stage.metrics.goodput
    if goodput is not None:
        within = f"[{goodput.interval.low:.1%} … {goodput.interval.high:.1%}]"
        rates = f"{number(goodput.requests_per_s)} requests/s and {number(goodput.output_tokens_per_s)} tokens/s"
        said = f"{stage_name(stage)}: {number(goodput.good)} of {number(goodput.judged)} good {within}, {rates}"
        console.print(Text(said))


def _verdict(stage: StageSummary, console: Console) -> None:
    if not stage.verdict.valid:
        console.print(Text(f" INVALID {stage_name(stage)} ", style="bold white on red"), end="")
        console.print(Text(" do not use its figures:", style="bold red"))
        for reason in stage.verdict.reasons:
            console.print(Text(f"  {reason}", style="red"))


def _latencies(stage: StageSummary) -> Table:
    """Red throughout where nothing of it may be used."""
    bad = "" if stage.verdict.valid else "red"
    table = Table(box=None, pad_edge=False, header_style=f"bold {bad}", style=bad)
    table.add_column(stage_name(stage) if stage.verdict.valid else f"{stage_name(stage)} INVALID", no_wrap=True)
    table.add_column("mean", justify="right", no_wrap=True)
    for percentile in SHOWN:
        table.add_column(f"p{percentile:g} ±95 %", justify="right", no_wrap=True)
    for title, field in FIGURES:
        of = getattr(stage.metrics, field)
        if of is not None and of.count and not (field == "hold" and of.maximum <= 0):
            table.add_row(title, seconds(of.mean), *(around(of, p) for p in SHOWN))
    return table


def _search(run: RunSummary, console: Console) -> None:
    found = run.search
    assert found is not None
    unit = "/s" if found.of == "rate" else " users"
    best = f"{number(found.best)}{unit}" if found.best is not None else "none"
    failed = f"{number(found.failed)}{unit}" if found.failed is not None else "none"
    console.print(
        Text(f"highest load that kept the objective: {best}; lowest that did not: {failed} ({found.why_ended})", "bold")
    )
    for step in found.steps:
        console.print(Text(f"  {number(step.load)}{unit}: {step.decision}, {step.why}", style="dim"))
