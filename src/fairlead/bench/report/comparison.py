"""A comparison of two runs on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.bench.report.words import ABSENT, number, seconds, share
from fairlead.bench.results.compare import Change, Comparison

COLOURS = {"better": "green", "worse": "yellow", "same": "dim", "untested": "yellow", "too few": "dim"}
HOW = (
    "p is corrected for the number of figures (Holm): of comparisons of equal servers one in twenty finds anything at "
    "all; seen: the least change that would be found in 4 of 5 cases, looked at alone; spread from "
)


def show_comparison(found: Comparison, console: Console) -> None:
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
                table.add_row(*row(change), style="bold red" if change.regressed else COLOURS[change.judgement])
        console.print(table)
    console.print(Text(verdict(found), style="bold red" if found.regressions else "bold green"))
    console.print(Text(HOW + "; ".join(bases(found)), style="dim"))


def verdict(found: Comparison) -> str:
    """In a sentence."""
    count = len(found.regressions)
    if not count:
        return "no regression" + (f" of more than {share(found.worse.share)}" if not found.worse.of else "")
    names = ", ".join(f"{_name(change)} of {change.stage}" for change in found.regressions[:4])
    more = f" and {count - 4} more" if count > 4 else ""
    return f"{count} regression{'s' if count != 1 else ''}: {names}{more}"


def bases(found: Comparison) -> list[str]:
    """What the spread of figures was learnt from."""
    return sorted({change.test.basis for change in found.changes})


def row(change: Change) -> tuple[str, ...]:
    """Figure, before, after, change, p, the least change that would be seen, judgement."""
    test = change.test
    points = "pt" if change.unit == "share" else "%"
    within = ""
    if test.low is not None or test.high is not None:
        within = f" [{_relative(test.low)} … {_relative(test.high)}]"
    least = f"{_relative(test.seen).lstrip('+')} {points}" if test.seen is not None else ABSENT
    said = "REGRESSED" if change.regressed else change.judgement
    p = ABSENT if change.p is None else f"{change.p:.2g}" if change.p >= 1e-4 else "<1e-4"
    return (
        _name(change), value(change, change.base), value(change, change.other),
        f"{_relative(test.change)} {points}{within}", p, least,
        f"{said} (untested)" if change.regressed and change.judgement == "untested" else said,
    )  # fmt: skip


def _name(change: Change) -> str:
    return change.figure.replace("_from_due", " due")


def value(change: Change, of: float) -> str:
    """In the unit of the figure."""
    return seconds(of) if change.unit == "s" else share(of) if change.unit == "share" else number(of)


def _relative(of: float | None) -> str:
    return ABSENT if of is None else f"{of * 100:+.1f}"
