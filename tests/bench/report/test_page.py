"""The page of a run and its other reports: whole, self-contained, and truthful about what is bad."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
from rich.console import Console

from bench.report.made import one_run, records
from fairlead.bench.records.parquet import write_parquet
from fairlead.bench.report.figures import distributions, heatmaps, over_time
from fairlead.bench.report.files import record_grids, write_report
from fairlead.bench.report.page import report_page
from fairlead.bench.report.terminal import show
from fairlead.bench.results.store import Kept, load
from fairlead.bench.summary import RunSummary, Series, Verdict


def invalid(run: RunSummary) -> RunSummary:
    stage = msgspec.structs.replace(run.stages[0], verdict=Verdict(False, ("lag <b>80 ms</b> & more",)))
    return msgspec.structs.replace(run, stages=(stage,))


def kept(folder: Path, run: RunSummary) -> Kept:
    (folder / "records").mkdir()
    write_parquet(folder / "records" / "part.parquet", [list(records(300, 1))])
    (folder / "summary.json").write_bytes(msgspec.json.encode(run))
    return load(folder)


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
    assert "INVALID, do not use" in text and "&lt;b&gt;80 ms" in text and "<script>alert" not in text
    assert "Use of the KV cache" in text and "first event with text" in text
    (data,) = re.findall(r"<script>const figures = (\[.*?\]);\nconst dark", text, flags=re.S)
    assert len(msgspec.json.decode(data.replace("<\\/", "</"))) == text.count('<div id="plot')


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
    assert "INVALID 10/s: lag <b>80 ms</b> & more" in text
    assert re.search(r"TTFT\s+100 ms\s+100 ms ±2 %", text)


def test_a_report_of_one_stage_has_the_plain_name(tmp_path: Path) -> None:
    files = write_report(Kept(one_run("a"), tmp_path), "v0.2", tmp_path)
    assert [file.name for file in files] == ["report_v0.2.yaml"]
    assert load(files[0]).run.stages[0].metrics.requests == 1000
