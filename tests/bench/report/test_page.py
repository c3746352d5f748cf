"""The page of a run and its other reports: whole, self-contained, and truthful about what is bad."""

from __future__ import annotations

import base64
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from rich.console import Console

from bench.report.made import one_run, records, runs
from fairlead.bench.records.parquet import write_parquet
from fairlead.bench.report.comparison import show_comparison
from fairlead.bench.report.comparison_page import comparison_page
from fairlead.bench.report.figures import curves, distributions, heatmaps, over_time, with_stages
from fairlead.bench.report.files import record_grids, write_report
from fairlead.bench.report.honesty import best_stage, facts
from fairlead.bench.report.page import report_page
from fairlead.bench.report.terminal import show
from fairlead.bench.results.compare import Side, compare
from fairlead.bench.results.decoding import decode_summary
from fairlead.bench.results.store import Kept, load
from fairlead.bench.summary import Answers, Drift, Goodput, Interval, RunSummary, Series, StageSummary, Verdict


def invalid(run: RunSummary) -> RunSummary:
    stage = msgspec.structs.replace(run.stages[0], verdict=Verdict(False, ("lag <b>80 ms</b> & more",)))
    return msgspec.structs.replace(run, stages=(stage,))


def kept(folder: Path, run: RunSummary) -> Kept:
    (folder / "records").mkdir()
    write_parquet(folder / "records" / "part.parquet", [list(records(300, 1))])
    (folder / "summary.json").write_bytes(msgspec.json.encode(run))
    return load(folder)


def packed(text: str, name: str) -> bytes:
    (found,) = re.findall(rf'id="{name}">([^<]*)<', text)
    return zlib.decompress(base64.b64decode(found))


def figures(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(packed(text, "figures"))
    return found


class Checked(HTMLParser):
    """Elements that are left open, and what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    series = Series("engine-0", "kv_cache_usage", "fraction", (1.0, 2.0), (0.5, None))
    run = msgspec.structs.replace(invalid(one_run("a")), server=(series,), name="</script><script>alert(1)")
    (page,) = write_report(kept(tmp_path, run), "html", tmp_path)
    text = page.read_text()
    checked = Checked()
    checked.feed(text)
    assert checked.open == [] and checked.fetched == []
    assert "INVALID: do not use the figures of the only stage" in text
    assert "&lt;b&gt;80 ms" in text and "<script>alert" not in text and "first event with text" in text
    drawn = figures(text)
    assert len(drawn) == text.count('<div id="plot')
    assert any("KV" in str(figure["layout"]["title"]) for figure in drawn)
    assert b"Plotly" in packed(text, "library")
    # What a mail, or a repository, takes: however long the run was.
    assert len(text) < 5_000_000


def test_plots_show_every_request(tmp_path: Path) -> None:
    grids = record_grids(kept(tmp_path, one_run("a", end_s=60.0)), 30)
    whole = sum(r.status == 200 for r in records(300, 1) if r.due_s <= 60)
    for figure in heatmaps(grids):
        assert sum(v or 0 for row in figure["data"][0]["z"] for v in row) == whole
    for figure in distributions(one_run("a"), grids):
        assert figure["data"][0]["y"][-1] == 1.0
    assert len(over_time(grids)) == 4


def test_without_records_there_is_a_page_of_the_summary() -> None:
    assert "Distributions" in report_page(one_run("a"), {})


def test_the_terminal_says_what_is_invalid() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(invalid(one_run("a")), console)
    text = console.export_text()
    assert "INVALID 10/s" in text and "lag <b>80 ms</b> & more" in text
    assert re.search(r"TTFT\s+100 ms\s+100 ms ±2 %", text)


def test_the_stages_of_a_sweep_fit_a_narrow_terminal() -> None:
    one = one_run("a").stages[0]
    goodput = Goodput(1.0, Interval(0.9, 1.0), 1000, 1000, 120.0, 1200.0, None)
    metrics = msgspec.structs.replace(one.metrics, goodput=goodput)
    sweep = tuple(
        msgspec.structs.replace(one, index=index, name=f"{rate}/s", intended=rate, metrics=metrics)
        for index, rate in enumerate((50, 100, 1000))
    )
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(one_run("a", stages=sweep), console)
    head, *rows = console.export_text().splitlines()[1:5]
    assert "…" not in head and not any("…" in row for row in rows)
    assert head.split()[:3] == ["stage", "sent", "whole"]
    assert all(row.rstrip().endswith("100.0% undecided") for row in rows)


def test_what_an_invalid_stage_has_in_a_plot_is_hollow() -> None:
    good = one_run("a").stages[0]
    bad = msgspec.structs.replace(good, index=1, intended=20.0, verdict=Verdict(False, ("client lag",)))
    run = one_run("a", stages=(bad, good))
    for figure in curves(run):
        for line in figure["data"]:
            # In the order of loads, whatever the order of stages.
            assert line["text"] == ["10/s", "10/s (INVALID)"]
            assert [c == "hollow" for c in line["marker"]["color"]] == [False, True]
            assert line["error_y"]["array"][0] > 0
    (over,) = with_stages(run, [{"layout": {}}])
    assert [shape["type"] for shape in over["layout"]["shapes"]] == ["rect", "line"]


def test_what_makes_figures_differ_is_told_in_every_report() -> None:
    answers = Answers(shorter=3, repeated=2, unsent=1, unended=4, merged_events=7, prompt_error=0.1, chunk_tokens=2.5)
    one = one_run("a").stages[0]
    metrics = msgspec.structs.replace(one.metrics, answers=answers, counted_by="mixed", e2e_at_least=one.metrics.e2e)
    drift = Drift(0.01, 1e-5, 2.0, 1e-6, False, True)
    note = Verdict(True, (), ("the server was saturated",))
    stages = tuple(
        msgspec.structs.replace(one, index=k, name=f"s{k}", metrics=metrics, drift=drift, verdict=note)
        for k in range(2)
    )
    run = one_run("a", stages=stages)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(run, console, formulas=True)
    terminal, page = console.export_text(), report_page(run, {})
    for text in (terminal, page):
        for said in ("shorter", "repeated", "never sent", "not ended", "merged events", "SATURATED", "E2E at least"):
            assert said in text, said
        assert "mixed" in text and "+10.00%" in text and "first event with text" in text
        assert text.count("the server was saturated") == 1
    told = {fact.name: fact.value for fact in facts(stages[0])}
    assert told["shorter"] == "3 (0.3%)" and told["tokens an event"] == "2.5"


def test_the_stage_that_stands_for_a_run_is_the_highest_that_kept_the_objective() -> None:
    one = one_run("a").stages[0]

    def stage(index: int, rate: float, kept: bool | None, valid: bool = True) -> StageSummary:
        goodput = Goodput(0.9, Interval(0.8, 1.0), 9, 10, 1.0, 1.0, kept)
        metrics = msgspec.structs.replace(one.metrics, requests_per_s=rate, goodput=goodput)
        return msgspec.structs.replace(one, index=index, metrics=metrics, verdict=Verdict(valid))

    def best(*stages: StageSummary) -> int | None:
        found = best_stage(one_run("a", stages=stages))
        return found[0].index if found is not None else None

    assert best(stage(0, 1.0, True), stage(1, 5.0, True), stage(2, 9.0, False), stage(3, 20.0, True, False)) == 1
    assert best(stage(0, 1.0, True, False)) is None


@settings(max_examples=8, deadline=None)
@given(runs(), runs())
def test_what_has_no_value_is_a_dash_in_every_report(run: RunSummary, other: RunSummary) -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(run, console)
    found = compare(Side(run, {}), Side(other, {}), anyway=True)
    show_comparison(found, console)
    pages = [report_page(run, {}), comparison_page(Side(run, {}), [(Side(other, {}), found)])]
    for text in (console.export_text(), *pages):
        assert not re.search(r"[ >]nan( |%|/|<)", text)
    assert decode_summary(msgspec.json.encode(run)).stages[0].name == run.stages[0].name


def test_a_report_of_one_stage_has_the_plain_name(tmp_path: Path) -> None:
    files = write_report(Kept(one_run("a"), tmp_path), "v0.2", tmp_path)
    assert [file.name for file in files] == ["report_v0.2.yaml"]
    assert load(files[0]).run.stages[0].metrics.requests == 1000
