"""A comparison of two runs on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.bench.report.words import ABSENT, number, seconds, share
from fairlead.bench.results.compare import Change, Comparison

COLOURS = {"better": "green", "worse": "yellow", "same": "dim", "untested": "yellow", "too few": "dim"}


def show_comparison(found: Comparison, threshold: float, console: Console) -> None:
    """Every figure with what it was, what it is, the change with its interval, and how that is judged."""
    console.print(Text(f"{found.other} against {found.base}", style="bold"))
    for note in found.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    for refusal in found.refusals:
        console.print(Text(f"not comparable: {refusal} (--anyway compares nevertheless)", style="bold red"))
    if not found.changes:
        return
    for stage in dict.fromkeys(change.stage for change in found.changes):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in (stage, "before", "after", "change [95 %]", "p", "seen", ""):
            table.add_column(title, justify="left" if title in (stage, "") else "right", no_wrap=True)
        for change in found.changes:
            if change.stage == stage:
                table.add_row(*_row(change), style="bold red" if change.regressed else COLOURS[change.judgement])
        console.print(table)
    count = len(found.regressions)
    said = f"{count} regressions" if count != 1 else "1 regression"
    verdict = f"{said} of more than {share(threshold)}" if count else f"no regression of more than {share(threshold)}"
    console.print(Text(verdict, style="bold red" if count else "bold green"))
    console.print(
        Text(
            "p is corrected for the number of figures (Holm); seen: the least change that would be found in 4 of 5 "
            "cases; spread from " + "; ".join(sorted({c.test.basis for c in found.changes})),
            style="dim",
        )
    )


def _row(change: Change) -> tuple[str, ...]:
    test = change.test

    def value(of: float) -> str:
        return seconds(of) if change.unit == "s" else share(of) if change.unit == "share" else number(of)

    def relative(of: float | None) -> str:
        return ABSENT if of is None else f"{of * 100:+.1f}"

    points = "pt" if change.unit == "share" else "%"
    within = f" [{relative(test.low)} … {relative(test.high)}]" if test.low is not None else ""
    least = f"{relative(test.seen).lstrip('+')} {points}" if test.seen is not None else ABSENT
    said = "REGRESSED" if change.regressed else change.judgement
    p = ABSENT if change.p is None else f"{change.p:.2g}" if change.p >= 1e-4 else "<1e-4"
    figure = change.figure.replace("_from_due", " due")
    return (
        figure, value(change.base), value(change.other), f"{relative(test.change)} {points}{within}", p, least,
        f"{said} (untested)" if change.regressed and change.judgement == "untested" else said,
    )  # fmt: skip
