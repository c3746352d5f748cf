"""Tables of a page: HTML, with all that comes from outside escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from fairlead.bench.report.honesty import facts as honest_facts
from fairlead.bench.report.words import around, at, load, number, seconds, share, stage_name
from fairlead.bench.summary import Metrics, RunSummary, StageSummary

FIGURES = {
    "ttft": "TTFT", "ttft_from_due": "TTFT from due", "itl": "ITL", "tpot": "TPOT", "ntpot": "NTPOT", "e2e": "E2E",
    "e2e_from_due": "E2E from due", "e2e_at_least": "E2E at least", "schedule_delay": "sent after due",
    "hold": "held by the load", "client_lag": "client lag", "connection_wait": "wait for a connection",
    "in_flight": "in flight", "prompt_tokens": "prompt tokens", "output_tokens": "output tokens",
    "cached_tokens": "cached tokens",
}  # fmt: skip
SHOWN = (50.0, 90.0, 95.0, 99.0, 99.9)
LONG_CELL = 40
"""A column with longer cells is of words: at the left, and wrapped."""

HEADS = {
    "sent": "requests (sessions) sent in the stage without its cut, per second",
    "whole": "requests whose answer came whole",
    "whole/s": "whole answers that ended in the stage, per second, whenever they were due",
    "out tok/s": "output tokens that came in the stage, per second",
    "in tok/s": "prompt tokens of requests whose first token came in the stage, per second",
    "attainment": "good requests / judged ones, with Wilson's interval of 95 %, as wide as their dependence makes it",
    "lag p99": "when the worker turned to a request − when it was due: the load generator's own fault",
    "CPU": "of a core, the busiest worker's",
}
"""What a column of the stages' table is: shown when one points at it."""


class Mark(NamedTuple):
    """A cell that stands out: bad, warn or good."""

    text: str
    kind: str

    def html(self) -> str:
        return f'<span class="mark {self.kind}">{escape(self.text)}</span>'


Cell = str | Mark


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], says: Mapping[str, str] | None = None) -> str:
    """`says`: of a column or of a row's first cell, what it is, shown when one points at it. A row with a bad mark is
    coloured."""
    told, given = says or {}, [list(row) for row in rows]
    words = {
        column
        for row in given
        for column, cell in enumerate(row)
        if column and isinstance(cell, str) and len(cell) > LONG_CELL
    }
    titles = "".join(_head(title, column in words, told) for column, title in enumerate(head))
    body = "".join(_row(row, words, told) for row in given)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _head(title: str, words: bool, told: Mapping[str, str]) -> str:
    attributes = ' class="words"' if words else ""
    return f"<th{attributes}{_title(told.get(title))}>{escape(title)}</th>"


def _row(row: Sequence[Cell], words: set[int], told: Mapping[str, str]) -> str:
    bad = any(isinstance(cell, Mark) and cell.kind == "bad" for cell in row)
    first = row[0] if row else ""
    said = told.get(first) if isinstance(first, str) else None
    cells = [f"<th{_title(said)}>{_cell(first)}</th>"]
    cells += [
        f'<td class="words">{_cell(cell)}</td>' if column in words else f"<td>{_cell(cell)}</td>"
        for column, cell in enumerate(row[1:], 1)
    ]
    opened = '<tr class="bad">' if bad else "<tr>"
    return f"{opened}{''.join(cells)}</tr>"


def _cell(cell: Cell) -> str:
    return cell.html() if isinstance(cell, Mark) else escape(cell)


def _title(text: str | None) -> str:
    return f' title="{escape(text)}"' if text else ""


def stages(run: RunSummary) -> str:
    """A row a stage: whether it can be believed, what was asked, what came."""
    head = (
        "stage", "verdict", "asked", "sent", "requests", "whole", "whole/s", "out tok/s", "in tok/s", "attainment",
        "TTFT p50", "TTFT p99", "lag p99", "CPU",
    )  # fmt: skip
    return table(head, (_stage(stage) for stage in run.stages), HEADS)


def verdict(stage: StageSummary) -> Mark:
    """In a word. A saturated stage is valid, and its latencies are of how long it was."""
    if not stage.verdict.valid:
        return Mark("INVALID", "bad")
    if stage.drift is not None and stage.drift.saturated:
        return Mark("saturated", "warn")
    return Mark("valid", "good")


def _stage(stage: StageSummary) -> tuple[Cell, ...]:
    of, client = stage.metrics, stage.client
    good = of.goodput
    attainment: Cell = "–"
    if good is not None:
        kind = {True: "good", False: "warn", None: ""}[good.kept]
        said = f"{good.attainment:.1%} [{good.interval.low * 100:.1f} … {good.interval.high * 100:.1f}]"
        attainment = Mark(said, kind) if kind else said
    failed = of.requests - of.whole
    whole: Cell = Mark(number(of.whole), "warn") if failed else number(of.whole)
    return (
        stage_name(stage), verdict(stage), load(stage), f"{number(stage.achieved_rate_per_s)}/s", number(of.requests),
        whole, number(of.requests_per_s), number(of.output_tokens_per_s), number(of.prompt_tokens_per_s),
        attainment, at(of.ttft, 50.0), at(of.ttft, 99.0), seconds(client.lag_p99_s), share(round(client.cpu_share, 3)),
    )  # fmt: skip


def latencies(stage: StageSummary, formulas: Mapping[str, str]) -> str:
    """Every distribution with its percentiles, how far their intervals of 95 % go, and its formula for who points at
    it."""
    rows: list[tuple[Cell, ...]] = []
    for field, title in FIGURES.items():
        of = getattr(stage.metrics, field, None)
        if of is None or not of.count:
            continue
        mean = seconds(of.mean) if of.unit == "s" else number(of.mean)
        cells = (around(of, p) for p in SHOWN)
        least, most = (seconds(v) if of.unit == "s" else number(v) for v in (of.minimum, of.maximum))
        rows.append((title, number(of.count), mean, least, *cells, most))
    says = {title: formulas[field] for field, title in FIGURES.items() if field in formulas}
    return table(("", "values", "mean", "least", *(f"p{p:g} ±95 %" for p in SHOWN), "most"), rows, says) if rows else ""


def honesty(stage: StageSummary) -> str:
    """What the stage's figures are to be read with."""
    rows: list[tuple[Cell, ...]] = []
    for fact in honest_facts(stage):
        value: Cell = Mark(fact.value, "warn") if fact.value in ("SATURATED", "not steady") else fact.value
        rows.append((fact.name, value, fact.says))
    return table(("to be read with", "", "what that does"), rows)


def failures(stage: StageSummary) -> str:
    found = sorted(stage.metrics.failures.items(), key=lambda item: -item[1])
    all_of = max(1, stage.metrics.requests)
    rows = ((name, number(count), share(round(count / all_of, 4))) for name, count in found)
    return table(("failure", "requests", "of all"), rows) if found else ""


def parts(title: str, by: Mapping[str, Metrics]) -> str:
    """One row for each target, adapter or turn."""
    if not by:
        return ""
    all_of = max(1, sum(m.requests for m in by.values()))
    head = (
        title, "requests", "of all", "whole", "whole/s", "output tok/s", "TTFT p50", "TTFT p99", "ITL p50", "ITL p99",
        "E2E p50", "E2E p99", "attainment",
    )  # fmt: skip
    return table(
        head,
        (
            (
                name or "(base model)", number(m.requests), share(round(m.requests / all_of, 3)), number(m.whole),
                number(m.requests_per_s), number(m.output_tokens_per_s), at(m.ttft, 50.0), at(m.ttft, 99.0),
                at(m.itl, 50.0), at(m.itl, 99.0), at(m.e2e, 50.0), at(m.e2e, 99.0),
                share(round(m.goodput.attainment, 4)) if m.goodput is not None else "–",
            )
            for name, m in by.items()
        ),
    )  # fmt: skip


def facts(of: Mapping[str, object]) -> str:
    return table(("", ""), ((name, str(value)) for name, value in of.items()))
