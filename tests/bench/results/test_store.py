"""Kept runs through the commands: found, filtered, shown, compared with an exit status, uploaded."""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import sys
from pathlib import Path

import fsspec
import msgspec
import pytest

from bench.report.made import config, one_run, records
from fairlead.bench.records.parquet import write_parquet
from fairlead.bench.results.store import Broken, Kept, NotFound, entries, find, kept_runs, matching
from fairlead.bench.results.upload import CannotUpload, upload
from fairlead.bench.summary import ClientHealth
from fairlead.cli.bench import main


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for number, (identity, factor) in enumerate((("20261128-a", 1.0), ("20261129-b", 1.3))):
        folder = tmp_path / identity
        (folder / "records").mkdir(parents=True)
        write_parquet(folder / "records" / "part.parquet", [list(records(300, number, factor))])
        labelled = config(labels={"branch": identity[-1]})
        run = one_run(identity, factor, config=labelled)
        (folder / "summary.json").write_bytes(msgspec.json.encode(run))
    (tmp_path / "20261130-broken").mkdir()
    (tmp_path / "20261130-broken" / "summary.json").write_text("{")
    return tmp_path


def test_runs_are_found_by_beginning_name_and_file(store: Path) -> None:
    assert [kept.run.id for kept in kept_runs(store)] == ["20261129-b", "20261128-a"]
    assert find("20261128", store).run.id == "20261128-a"
    assert find(str(store / "20261128-a" / "summary.json"), store).records is not None
    with pytest.raises(NotFound, match="begins the ids of 2 runs"):
        find("2026112", store)
    with pytest.raises(NotFound, match="bench list"):
        find("nothing", store)
    assert [k.run.id for k in kept_runs(store) if matching(k, "m", {"branch": "a"}, None)] == ["20261128-a"]
    assert not [k for k in kept_runs(store) if matching(k, "other", {}, None)]


def test_list_and_show(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(store), "--label", "branch=b", "-o", "json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["20261129-b"]
    assert main(["show", "20261128", "--results", str(store)]) == 0
    assert "100 ms" in capsys.readouterr().out
    assert main(["show", "nothing", "--results", str(store)]) == 1
    assert "bench list" in capsys.readouterr().err


def test_what_cannot_be_read_is_told_and_the_rest_is_listed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store / "notes.txt").write_text("not a run")
    (store / "20261201-began").mkdir()
    (store / "20261201-began" / "config.yaml").write_text(
        "targets: [{url: 'http://h:1', model: m}]\nload: {kind: open, stages: [{rate_per_s: 1, seconds: 5}]}\n"
    )
    assert main(["list", "--results", str(store)]) == 0
    said = capsys.readouterr()
    states = {line.split()[0]: line for line in said.out.splitlines()}
    assert "damaged" in states["20261130-broken"] and "unfinished" in states["20261201-began"]
    assert "complete" in states["20261129-b"] and "notes.txt" not in said.out
    assert "20261130-broken cannot be read" in said.err and "summary.json is not a summary" in said.err
    # It has no label to look for.
    assert main(["list", "--results", str(store), "-l", "branch=a"]) == 0
    assert "broken" not in capsys.readouterr().out


def test_runs_are_removed_by_id_alone_and_never_outside_of_the_store(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def removed(*more: str) -> int:
        return main(["rm", *more, "--results", str(store)])

    assert removed("20261128", "--records") == 0
    assert find("20261128", store).records is None
    assert removed("2026112") == 1 and removed("") == 1 and removed("last") == 1 and removed(str(store)) == 1
    assert removed("../" + store.name + "/20261128-a") == 1
    assert "begins the id of no run" in capsys.readouterr().err
    assert removed("20261128-a", "20261130") == 0
    assert [folder.name for folder in store.iterdir()] == ["20261129-b"]
    with (store / "20261129-b" / "records" / "records.spool").open("wb") as spool:
        fcntl.flock(spool, fcntl.LOCK_EX)
        assert removed("20261129") == 1
    assert "goes on" in capsys.readouterr().err and (store / "20261129-b" / "summary.json").is_file()


def test_a_summary_without_some_numbers_is_read_back(store: Path) -> None:
    run = one_run("20261202-d")
    nowhere = ClientHealth(math.nan, math.nan, math.nan, math.nan, math.nan)
    run = msgspec.structs.replace(run, stages=(msgspec.structs.replace(run.stages[0], client=nowhere),))
    (store / "20261202-d").mkdir()
    (store / "20261202-d" / "summary.json").write_bytes(msgspec.json.encode(run))
    (stage,) = find("20261202", store).run.stages
    assert math.isnan(stage.client.lag_p99_s) and stage.metrics == run.stages[0].metrics


def test_a_store_of_many_runs_is_read_no_further_than_is_asked(store: Path) -> None:
    for number in range(50):
        folder = store / f"20261203-{number:04}"
        folder.mkdir()
        (folder / "summary.json").write_bytes(b"{")
    (store / "20261203-0049" / "summary.json").write_bytes(msgspec.json.encode(one_run("20261203-0049")))
    every = entries(store)
    assert isinstance(next(every), Kept)
    # What has not been asked for may be gone meanwhile.
    shutil.rmtree(store / "20261203-0048")
    assert isinstance(next(every), Broken) and isinstance(next(every), Broken)


def test_compare_has_an_exit_status_for_each_case(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def compared(*more: str) -> int:
        return main(["compare", *more, "--results", str(store)])

    assert compared("20261128", "20261129") == 5
    assert "REGRESSED" in capsys.readouterr().out
    assert compared("20261129", "20261128") == 0
    assert compared("20261128", "20261129", "--worse", "60%") == 0
    assert compared("20261128", "20261129", "--worse", "60%", "--worse", "itl=10%") == 5
    lines = {line[:8]: line for line in capsys.readouterr().out.splitlines()}
    assert "REGRESSED" in lines["itl p50 "] and "REGRESSED" not in lines["e2e p50 "]
    assert compared("20261128", "20261129", "--fail-on", "nothing") == 0
    assert compared("20261128") == 1 and compared("20261128", "20261129", "--worse", "much") == 1
    assert compared("20261128", "20261129", "--worse", "speed=5%") == 1
    assert "no figure 'speed'" in capsys.readouterr().err
    page = store / "against.html"
    assert compared("20261128", "20261129", "--html", str(page), "-o", "json") == 5
    (found,) = json.loads(capsys.readouterr().out)
    assert {c["figure"] for c in found["changes"] if c["regressed"]} >= {"itl p50", "e2e p50"}
    assert found["pairs"] == [[0, 0]] and "REGRESSED" in page.read_text()
    other = one_run("20261127-c", config=config(content={"kind": "file", "path": "x"}))
    (store / "c").mkdir()
    (store / "c" / "summary.json").write_bytes(msgspec.json.encode(other))
    capsys.readouterr()
    assert compared("20261128", "c") == 4
    assert "content.kind" in capsys.readouterr().out


def test_a_run_is_compared_with_another_tools_report(store: Path, tmp_path: Path) -> None:
    assert main(["report", "20261129", "-f", "v0.2", "--to", str(tmp_path / "out"), "--results", str(store)]) == 0
    report = str(tmp_path / "out" / "report_v0.2.yaml")
    # There is no test to be made of it: a change of that size counts.
    assert main(["compare", "20261128", report, "--results", str(store)]) == 5
    assert main(["compare", "20261129", report, "--results", str(store)]) == 0


def test_reports_go_to_other_stores(store: Path) -> None:
    assert main(["report", "20261129", "-f", "json", "--to", "memory://bench/x", "--results", str(store)]) == 0
    assert b"20261129-b" in fsspec.filesystem("memory").cat("/bench/x/summary.json")
    files = [store / "20261129-b" / "summary.json"]
    assert upload(files, f"file://{store}/copied") == [f"file://{store}/copied/summary.json"]
    assert (store / "copied" / "summary.json").read_bytes() == files[0].read_bytes()


def test_an_upload_that_fails_leaves_the_run_as_it_was(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    # A file where a folder has to be.
    to = f"file://{store}/20261129-b/summary.json/reports"
    assert main(["report", "20261129", "--form", "v0.2", "--to", to, "--results", str(store)]) == 1
    said = capsys.readouterr()
    assert to in said.err and said.out == ""
    assert {file: file.read_bytes() for file in store.rglob("*") if file.is_file()} == before


def test_a_missing_package_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(CannotUpload, match="needs the package s3fs: pip install s3fs"):
        upload([], "s3://bucket/runs")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(CannotUpload, match="fsspec and gcsfs: pip install fsspec gcsfs"):
        upload([], "gs://bucket/runs")
    monkeypatch.undo()
    with pytest.raises(CannotUpload, match="nowhere://x"):
        upload([], "nowhere://x")
