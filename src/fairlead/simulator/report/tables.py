"""Tables of a report, and how numbers are written for people."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fairlead.simulator.fleet.summary import Distribution, Summary

UNKNOWN = "–"
Row = Sequence[str]


def seconds(value: float | None) -> str:
    """Three digits, in the unit that suits."""
    if value is None:
        return UNKNOWN
    if abs(value) < 1e-6:
        return "0"
    if abs(value) < 0.9995:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if abs(value) < 999.5 else f"{value:,.0f} s"


def number(value: float | None, digits: int = 3) -> str:
    """With thousands separators; `digits` significant ones for small numbers."""
    if value is None:
        return UNKNOWN
    if float(value).is_integer() or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """Of a share. What is not all does not round to all."""
    if value is None:
        return UNKNOWN
    text = f"{100 * value:.1f} %"
    return "99.9 %" if text == "100.0 %" and value < 1 else text


def table(header: Row, rows: Sequence[Row]) -> str:
    """HTML; the first column is the name of the row."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + f"<th>{escape(row[0])}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def latency_table(summary: Summary) -> str:
    """Percentiles of one study."""

    def row(name: str, of: Distribution) -> Row:
        return (name, *(seconds(v) for v in (of.mean, of.p50, of.p90, of.p95, of.p99, of.max)), number(of.count))

    return table(
        ("", "mean", "p50", "p90", "p95", "p99", "max", "observations"),
        [
            row("time to first token", summary.ttft_s),
            row("inter-token latency", summary.itl_s),
            row("time per output token", summary.tpot_s),
            row("end to end", summary.e2e_s),
            row("queue", summary.queue_s),
        ],
    )


def objective_table(summary: Summary) -> str:
    """Objectives of one study; empty without any."""
    if not summary.objectives:
        return ""
    rows = [
        (
            o.name,
            seconds(o.limit_s) if o.limit_s is not None else "by request",
            number(o.requests),
            percent(o.attainment),
        )
        for o in summary.objectives
    ]
    rows.append(
        ("all of them", "", number(summary.finished + summary.failed + summary.abandoned), percent(summary.attainment))
    )
    return table(("objective", "limit", "requests", "kept"), rows)


def pool_table(summary: Summary) -> str:
    """One row per pool."""
    return table(
        ("pool", "role", "replicas", "engine", "KV cache", "prefix hits", "utilisation", "mean batch", "preemptions",
         "TTFT p50", "TTFT p99", "ITL p50", "ITL p99", "GPU h", "$/GPU h"),
        [
            (
                pool.name,
                pool.role,
                number(pool.replicas),
                pool.description,
                f"{number(pool.kv_cache_tokens)} tokens",
                percent(pool.work.prefix_hit_rate),
                percent(pool.work.utilisation),
                number(pool.work.mean_batch),
                number(pool.work.preemptions),
                seconds(pool.ttft_s.p50),
                seconds(pool.ttft_s.p99),
                seconds(pool.itl_s.p50),
                seconds(pool.itl_s.p99),
                number(pool.gpu_h),
                number(pool.usd_per_h),
            )
            for pool in summary.pools
        ],
    )  # fmt: skip


def replica_table(summary: Summary) -> str:
    """One row per replica."""
    return table(
        ("replica", "at the end", "sent", "finished", "output tokens", "prefix hits", "utilisation", "mean batch",
         "preemptions", "TTFT p50", "TTFT p99", "ITL p50", "ITL p99", "crashes", "ready h"),
        [
            (
                replica.name,
                replica.phase,
                number(replica.picks),
                number(replica.finished_requests),
                number(replica.work.generation_tokens),
                percent(replica.work.prefix_hit_rate),
                percent(replica.work.utilisation),
                number(replica.work.mean_batch),
                number(replica.work.preemptions),
                seconds(replica.ttft_s.p50),
                seconds(replica.ttft_s.p99),
                seconds(replica.itl_s.p50),
                seconds(replica.itl_s.p99),
                number(replica.crashes),
                number(replica.ready_h),
            )
            for replica in summary.replicas
        ],
    )  # fmt: skip


def event_table(summary: Summary, most: int = 200) -> str:
    """What happened to replicas; empty when nothing did."""
    if not summary.events:
        return ""
    rows = [(seconds(e.time_s), e.replica, e.what, e.why) for e in summary.events[:most]]
    more = len(summary.events) - most
    note = f"<p>… and {more} more.</p>" if more > 0 else ""
    return table(("time", "replica", "what", "why"), rows) + note


COMPARED = (
    "requests", "TTFT p50", "TTFT p95", "TTFT p99", "ITL p50", "ITL p99", "E2E p50", "E2E p99", "prefix hits",
    "SLO kept", "goodput req/s", "output tok/s", "$/M out tok",
)  # fmt: skip
"""Columns in which studies are compared."""


def compared(summary: Summary) -> Row:
    """The cells of `COMPARED`."""
    return (
        f"{number(summary.finished)} of {number(summary.arrived)}",
        seconds(summary.ttft_s.p50),
        seconds(summary.ttft_s.p95),
        seconds(summary.ttft_s.p99),
        seconds(summary.itl_s.p50),
        seconds(summary.itl_s.p99),
        seconds(summary.e2e_s.p50),
        seconds(summary.e2e_s.p99),
        percent(summary.prefix_hit_rate),
        percent(summary.attainment),
        number(summary.goodput_requests_per_s),
        number(summary.output_tokens_per_s),
        number(summary.cost_usd_per_million_output_tokens),
    )
