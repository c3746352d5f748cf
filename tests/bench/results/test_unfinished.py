"""A run whose process is killed says what it is, and what it had measured by then."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.hostile import GOOD, hostile
from fairlead.bench.records import read_records
from fairlead.bench.results.store import kept_runs, load
from fairlead.cli.main import main
from patience import PATIENCE_S

ARGUMENTS = ["--model", "m", "--prompt-tokens", "16", "--output-tokens", "3", "--process", "constant", "--quiet"]


def test_a_killed_run_is_shown_with_what_it_has_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        command = [sys.executable, "-m", "fairlead.cli.main", "bench", server.url, *ARGUMENTS]
        running = subprocess.Popen([*command, "--rate", "50", "-s", "600", "--results", str(tmp_path)])
        try:
            while not (spools := list(tmp_path.glob("*/records/records.spool"))) or spools[0].stat().st_size < 20_000:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"it ended with {running.wait(0.05)}")
            assert "its process goes on" in load(spools[0].parents[1], measured=False).run.why_ended
            running.send_signal(signal.SIGKILL)
            running.wait(PATIENCE_S)
        finally:
            running.kill()
            running.wait(PATIENCE_S)
    folder = spools[0].parents[1]
    count = len(list(read_records(folder / "records")))
    assert count > 20
    assert main(["bench", "show", "last", "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert f"{count} requests had ended by" in shown and "ended before it could tell" in shown
    assert main(["bench", "show", folder.name, "--results", str(tmp_path), "-o", "json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    metrics = stage["metrics"]
    assert (metrics["requests"], metrics["whole"], stage["intended"]) == (count, count, 50.0)
    assert metrics["ttft"]["count"] == count
    assert not stage["verdict"]["valid"] and "the run has not ended" in stage["verdict"]["reasons"][0]
    assert main(["bench", "report", folder.name, "--results", str(tmp_path)]) == 0
    assert (folder / "report.html").is_file() and not (folder / "summary.json").exists()
    (listed,) = kept_runs(tmp_path)
    assert listed.run.ended == "unfinished"


def test_one_that_had_no_record_yet_is_shown_too(tmp_path: Path) -> None:
    folder = tmp_path / "20261128-000000-abcd"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "targets: [{url: 'http://h:1', model: m}]\nload: {kind: search, low: 1}\nobjective: {ttft_ms: 100}\n"
    )
    run = load(folder).run
    assert (run.ended, run.stages) == ("unfinished", ())
    assert "0 requests had ended" in run.why_ended
