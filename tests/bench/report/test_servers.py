"""What servers saw of themselves, in reports."""

from __future__ import annotations

import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.report.made import one_run
from fairlead.bench.report.page import report_page
from fairlead.bench.report.server_figures import MOST_BINS, MOST_LINES, server_figures
from fairlead.bench.report.server_words import bucket, money
from fairlead.bench.report.standard import standard_reports
from fairlead.bench.report.terminal import show
from fairlead.bench.server_side.cost import cost_of
from fairlead.bench.server_side.figures import (
    Bucketed,
    Energy,
    GatewayFigures,
    Price,
    Range,
    ServerFigures,
    ServerLatency,
    ServerStage,
    ServerSummary,
)
from fairlead.bench.server_side.series import ALL
from fairlead.bench.summary import RunSummary, Series

values = st.none() | st.floats(0, 1e6)


def seen() -> RunSummary:
    """Two engines, a gateway, power and a price."""
    p50, p99 = Bucketed(0.03, 0.02, 0.04), Bucketed(60.0, 60.0, None)
    latency = ServerLatency(100.0, 0.03, p50, p50, p99, -0.5, 10.2)
    figures = ServerFigures(
        10.0, 2.0, 6.5, 9.0, 0.5, 3.0, 0.42, 0.97, 0.25, 3.0, 5000.0, 1234.4, 90.0, ttft=latency, queue=latency
    )
    one = msgspec.structs.replace(figures, engines=1.0, ttft=None)
    stage = ServerStage(
        0, 0.0, 10.0, figures, {"<b>llama-0</b>": one, "llama-1": one},
        GatewayFigures(10.0, 7.0, 1.0, 4.0, 0.8, 2.0, 2.0, 100.0, 1.0, 0.0, latency, latency),
        Energy("accelerators", 7000.0, 700.0, 1, "counters", 0.0, 5.67, 1.1),
        cost_of(Price(2.0, 5.0, "USD", "list prices, as of 2026-05"), 2.0, "as configured", 10.0, 5000.0, 1234.0, 4.0),
        ("engines preempted 3 requests: their KV caches were full",),
    )  # fmt: skip
    side = ServerSummary((stage,), {"<b>llama-0</b>": "vllm", "llama-1": "vllm"}, stage.energy, stage.cost)
    return msgspec.structs.replace(one_run("a"), server_side=side, cost_per_million_tokens=15.8, joules_per_token=5.67)


def test_the_terminal_has_them_beside_the_clients() -> None:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(seen(), console)
    text = console.export_text()
    assert re.search(r"2\s+6.5 / 9\s+0.5 / 3\s+42% / 97%\s+25%\s+3\s+1,234", text)
    assert re.search(r"20…40 ms \| 100 ms\s+> 60 s \| ", text)
    assert re.search(r"7,000\s+700 W\s+5.67\s+1.1", text)
    assert "preempted 3 requests" in text and "$9…22.5" in text
    assert "$2…5 (list prices, as of 2026-05)" in text


def test_the_page_has_them_and_escapes_what_comes_from_outside() -> None:
    page = report_page(seen(), {})
    assert "$9…22.5" in page and "&lt;b&gt;llama-0&lt;/b&gt;" in page and "<b>llama-0</b>" not in page
    assert "histogram_quantile" in page and "700 W" in page
    without = report_page(one_run("a"), {})
    assert "by their own pages" not in without


def test_a_summary_with_servers_is_read_as_it_was_written() -> None:
    run = seen()
    assert msgspec.json.decode(msgspec.json.encode(run), type=RunSummary, strict=False).server_side == run.server_side


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (Bucketed(0.03, 0.02, 0.04), "20…40 ms"),
        (Bucketed(0.9, 0.5, 1.0), "500 ms…1 s"),
        (Bucketed(0.003, 0.0, 0.005), "≤ 5 ms"),
        (Bucketed(60.0, 60.0, None), "> 60 s"),
        (Bucketed(0.105, 0.1, 0.11), "105 ms"),
    ],
)
def test_a_percentile_of_buckets_says_no_more_than_is_known(of: Bucketed, said: str) -> None:
    assert bucket(of) == said


def test_money_is_a_range_where_the_price_is() -> None:
    assert (money(Range(2.0, 2.0), ""), money(Range(1234.5, 5000.0), "USD")) == ("2", "$1,234…5,000")


def lines(count: int, points: int, all_together: bool) -> list[Series]:
    times = tuple(float(k) for k in range(points))
    sources = [f"e{k}" for k in range(count)] + ([ALL] if all_together else [])
    return [
        Series(source, "running_requests", "count", times, tuple(float(k * n) for k in range(points)))
        for n, source in enumerate(sources)
    ]


@pytest.mark.parametrize(("count", "figures", "traces"), [(1, 1, 1), (MOST_LINES, 1, MOST_LINES + 1), (64, 2, 5)])
def test_many_engines_are_a_spread_and_few_are_lines(count: int, figures: int, traces: int) -> None:
    found = server_figures(lines(count, 1000, count > 1))
    assert len(found) == figures and len(found[-1]["data"]) == traces
    if count > MOST_LINES:
        assert all(len(trace["x"]) <= MOST_BINS for trace in found[-1]["data"])
        least, greatest, low, high, median = (trace["y"] for trace in found[-1]["data"])
        assert all(a <= b <= c <= d <= e for a, b, c, d, e in zip(least, low, median, high, greatest, strict=True))


@given(st.lists(st.lists(values, min_size=1, max_size=12), min_size=MOST_LINES + 1, max_size=MOST_LINES + 3))
def test_a_spread_is_of_what_was_seen(engines: list[list[float | None]]) -> None:
    series = [
        Series(f"e{n}", "x", "", tuple(float(k) for k in range(len(of))), tuple(of)) for n, of in enumerate(engines)
    ]
    known = [v for of in engines for v in of if v is not None]
    (figure,) = server_figures(series)
    shown = [v for trace in figure["data"] for v in trace["y"]]
    assert all(min(known) * 0.9999 <= v <= max(known) * 1.0001 for v in shown) if known else not shown
    assert not any(math.isnan(v) for v in shown)


def test_the_benchmark_report_has_energy_and_cost_where_it_is_open() -> None:
    (report,) = standard_reports(seen())
    assert isinstance(report.results.profiling, dict)
    server = report.results.profiling["fairlead"]["server"]
    assert server["energy"]["joules_per_output_token"] == 5.67 and server["cost"]["accelerators"] == 2.0
    assert server["engines"]["ttft"]["p99"] == {"value": 60.0, "low": 60.0, "high": None}
    (plain,) = standard_reports(one_run("a"))
    assert isinstance(plain.results.profiling, dict) and "server" not in plain.results.profiling["fairlead"]
