"""A run's figures on a terminal: a table of stages, a table of latencies, and what is wrong with them, in red."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.bench.report.scaling_terminal import show_scaling
from fairlead.bench.report.server_terminal import show_servers
from fairlead.bench.report.words import ABSENT, around, load, number, seconds, stage_name
from fairlead.bench.summary import RunSummary, StageSummary

FIGURES = (
    ("TTFT", "ttft"), ("TTFT from due", "ttft_from_due"), ("ITL", "itl"), ("TPOT", "tpot"), ("NTPOT", "ntpot"),
    ("E2E", "e2e"), ("sent after due", "schedule_delay"),
)  # fmt: skip
SHOWN = (50.0, 90.0, 99.0)


def show(run: RunSummary, console: Console) -> None:
    """Print all of it; wraps where the terminal is narrow."""
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
            said = ", ".join(f"{name} {count}" for name, count in sorted(stage.metrics.failures.items()))
            console.print(Text(f"failures of {stage_name(stage)}: {said}", style="yellow"))
        for note in stage.verdict.notes:
            console.print(Text(f"{stage_name(stage)}: {note}", style="dim"))
    if run.search is not None:
        _search(run, console)
    show_servers(run, console)
    show_scaling(run, console)
    for note in run.notes:
        console.print(Text(f"note: {note}", style="dim"))


def _stages(run: RunSummary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("stage", "asked", "sent", "whole", "failed", "req/s", "tok/s", "lag p99", "CPU", "goodput"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for stage in run.stages:
        metrics, client = stage.metrics, stage.client
        failed = metrics.requests - metrics.whole
        busy = f"{client.cpu_share:.0%}" if math.isfinite(client.cpu_share) else ABSENT
        table.add_row(
            Text(stage_name(stage)), load(stage), f"{number(stage.achieved_rate_per_s)}/s", number(metrics.whole),
            Text(number(failed), style="yellow" if failed else ""), number(metrics.requests_per_s),
            number(metrics.output_tokens_per_s), seconds(client.lag_p99_s), busy, _goodput(stage),
        )  # fmt: skip
    return table


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
        console.print(Text(f"INVALID {stage_name(stage)}: {'; '.join(stage.verdict.reasons)}", style="bold red"))


def _latencies(stage: StageSummary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(stage_name(stage), no_wrap=True)
    table.add_column("mean", justify="right", no_wrap=True)
    for percentile in SHOWN:
        table.add_column(f"p{percentile:g} ±95 %", justify="right", no_wrap=True)
    for title, field in FIGURES:
        of = getattr(stage.metrics, field)
        if of is not None and of.count:
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
