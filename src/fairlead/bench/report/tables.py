"""Tables of a page: HTML, with all that comes from outside escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from fairlead.bench.report.words import around, at, load, number, seconds, share, stage_name
from fairlead.bench.summary import Metrics, RunSummary, StageSummary

FIGURES = {
    "ttft": "TTFT", "ttft_from_due": "TTFT from due", "itl": "ITL", "tpot": "TPOT", "ntpot": "NTPOT", "e2e": "E2E",
    "e2e_from_due": "E2E from due", "schedule_delay": "sent after due", "prompt_tokens": "prompt tokens",
    "output_tokens": "output tokens", "cached_tokens": "cached tokens",
}  # fmt: skip
SHOWN = (50.0, 90.0, 95.0, 99.0, 99.9)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def stages(run: RunSummary) -> str:
    """A row a stage: what was asked, what came, whether it can be believed."""
    head = (
        "stage", "asked", "sent", "requests", "whole", "whole/s", "output tok/s", "prompt tok/s", "attainment",
        "client lag p99", "client CPU", "verdict",
    )  # fmt: skip
    return table(head, (_stage(stage) for stage in run.stages))


def _stage(stage: StageSummary) -> tuple[str, ...]:
    of, client = stage.metrics, stage.client
    good = of.goodput
    attainment = f"{share(good.attainment)} [{share(good.interval.low)} … {share(good.interval.high)}]" if good else "–"
    return (
        stage_name(stage), load(stage), f"{number(stage.achieved_rate_per_s)}/s", number(of.requests),
        number(of.whole), number(of.requests_per_s), number(of.output_tokens_per_s), number(of.prompt_tokens_per_s),
        attainment, seconds(client.lag_p99_s), share(round(client.cpu_share, 3)),
        "valid" if stage.verdict.valid else "INVALID",
    )  # fmt: skip


def latencies(stage: StageSummary, formulas: Mapping[str, str]) -> str:
    """Every distribution with its percentiles, how far their intervals of 95 % go, and its formula."""
    rows = []
    for field, title in FIGURES.items():
        of = getattr(stage.metrics, field)
        if of is None or not of.count:
            continue
        mean = seconds(of.mean) if of.unit == "s" else number(of.mean)
        cells = (around(of, p) for p in SHOWN)
        rows.append((title, number(of.count), mean, *cells, formulas.get(field, "")))
    return table(("", "values", "mean", *(f"p{p:g} ±95 %" for p in SHOWN), "what it is"), rows) if rows else ""


def failures(stage: StageSummary) -> str:
    found = sorted(stage.metrics.failures.items())
    return table(("failure", "requests"), ((name, number(count)) for name, count in found)) if found else ""


def parts(title: str, by: Mapping[str, Metrics]) -> str:
    """One row for each target, adapter or turn."""
    if not by:
        return ""
    head = (title, "requests", "whole", "whole/s", "output tok/s", "TTFT p50", "TTFT p99", "ITL p50", "E2E p99")
    return table(
        head,
        (
            (
                name or "(base model)", number(m.requests), number(m.whole), number(m.requests_per_s),
                number(m.output_tokens_per_s), at(m.ttft, 50.0), at(m.ttft, 99.0), at(m.itl, 50.0), at(m.e2e, 99.0),
            )
            for name, m in by.items()
        ),
    )  # fmt: skip


def facts(of: Mapping[str, object]) -> str:
    return table(("", ""), ((name, str(value)) for name, value in of.items()))
