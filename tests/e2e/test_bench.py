"""`fairlead bench` against the simulated engine, a vLLM-compatible server: counts are its own, and the capacity that
a search finds is the one that the settings of the engine make."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SLOTS, TTFT_MS, ITL_MS, TOKENS = 4, 20.0, 10.0, 20
CAPACITY = SLOTS / (TTFT_MS + (TOKENS - 1) * ITL_MS) * 1e3
"""Requests per second: as many as run at a time, each for its prompt's iteration and those of its tokens."""
LOOSE = ["client.lag_ms=1000", "client.loop_lag_ms=1000", "client.cpu_share=1", "client.rate_error=1"]
"""Not what is tested here, and not what a shared machine can keep."""


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    command = [sys.executable, "-m", "fairlead.cli.main", "engine", "simulated", "--model", "tiny", "--port", "0"]
    process = subprocess.Popen([*command, "--max-num-seqs", str(SLOTS)], stdout=subprocess.PIPE, text=True)
    try:
        yield _url(process)
    finally:
        process.terminate()
        process.wait(30)


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready on port "):
            return f"http://127.0.0.1:{int(line.split()[-1])}"
    raise AssertionError("the engine ended before it listened")


def bench(*arguments: str, results: Path) -> tuple[int, dict[str, Any]]:
    sets = [word for field in LOOSE for word in ("--set", field)]
    lengths = ["--prompt-tokens", "32", "--output-tokens", str(TOKENS)]
    command = [sys.executable, "-m", "fairlead.cli.main", "bench", *arguments, *lengths, *sets]
    ended = subprocess.run([*command, "--results", str(results), "--json"], capture_output=True, text=True, timeout=240)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_a_run_counts_what_the_server_counts(engine: str, tmp_path: Path) -> None:
    status, summary = bench(engine, "--model", "tiny", "--rate", "8", "--seconds", "4", results=tmp_path)
    (stage,) = summary["stages"]
    metrics = stage["metrics"]
    assert status == 0, summary["stages"][0]["verdict"]
    assert metrics["whole"] == metrics["requests"] > 10
    assert metrics["output_tokens"]["minimum"] == metrics["output_tokens"]["maximum"] == TOKENS
    assert metrics["ttft"]["minimum"] >= TTFT_MS / 1e3 * 0.99
    assert metrics["itl"]["percentiles"]["50.0"] == pytest.approx(ITL_MS / 1e3, rel=0.2)
    (folder,) = tmp_path.iterdir()
    assert {"config.yaml", "summary.json", "records", "report.html"} <= {each.name for each in folder.iterdir()}


def test_a_search_finds_what_the_engine_can_serve(engine: str, tmp_path: Path) -> None:
    quick = ["load.settle_s=1", "load.max_step_s=8", "load.precision=0.3", "load.process=constant"]
    sets = [word for field in quick for word in ("--set", field)]
    asked = ["search", engine, "--model", "tiny", "--ttft-ms", "400", "--low", "8", "--seconds", "4"]
    status, summary = bench(*asked, *sets, results=tmp_path)
    found = summary["search"]
    assert status == 0, found
    assert found["best"] is not None and found["failed"] is not None, found
    # Nobody serves more than there are slots for; a machine that is busy with other tests makes the engine slower.
    assert 0.4 * CAPACITY <= found["best"] <= 1.1 * CAPACITY, found
