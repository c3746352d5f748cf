"""The coordinator's pod: what it is told, what it says, and what it leaves when something is missing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cluster.test_rendezvous import ended, started
from bench.hostile import GOOD, hostile
from fairlead.bench.cluster import lines
from fairlead.bench.cluster.outcome import Outcome, decode
from fairlead.bench.cluster.pod import Speaker, Told, coordinate
from fairlead.bench.run import Stop
from patience import PATIENCE_S

CONFIG: dict[str, Any] = {
    "load": {"stages": [{"rate_per_s": 20, "seconds": 1}], "process": "constant"},
    "content": {"prompt_tokens": 8, "output_tokens": 3},
    "client": {"lag_ms": 60_000, "cpu_share": 1, "loop_lag_ms": 60_000, "rate_error": 1},
}


class Heard(Speaker):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[lines.Line] = []

    def say(self, line: lines.Line) -> None:
        self.lines.append(line)


def told(url: str, results: str = "", **config: Any) -> Told:
    document = json.dumps({**CONFIG, "targets": [{"url": url, "model": "m"}], **config})
    return Told(b"token", document, 1, "bench-b", "127.0.0.1", PATIENCE_S, results)


async def carried_out(given: Told, port: int) -> tuple[Outcome, bool, list[lines.Line]]:
    heard = Heard()
    worker = await started(port, 0, b"token")
    outcome, has_summary = await asyncio.wait_for(coordinate(given, Stop(), heard, port), PATIENCE_S)
    assert await ended(worker) == [0 if has_summary else 1]
    return outcome, has_summary, heard.lines


async def test_all_figures_are_in_the_log_and_results_that_cannot_be_sent_are_told(unused_tcp_port: int) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        given = told(server.url, "nowhere://bucket/bench")
        outcome, has_summary, said = await carried_out(given, unused_tcp_port)
    assert has_summary and outcome.ended == "complete" and outcome.stages[0].requests == 20
    assert not outcome.results and outcome.problem.startswith("results were not sent: nowhere://bucket/bench/")
    assembly = lines.Assembly()
    for line in said:
        if isinstance(line, lines.Part):
            assembly.add(line)
    summary = assembly.summary()
    assert summary is not None and summary.id == outcome.run and summary.stages[0].metrics.whole == 20
    words = [line.text for line in said if isinstance(line, lines.Said)]
    assert words[:2] == ["asking the targets once", "waiting for workers (1)"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            {"content": {"kind": "file", "path": "/not/mounted.jsonl"}},
            "content.path is '/not/mounted.jsonl': there is no",
        ),
        ({"targets": [{"url": "http://127.0.0.1:1"}]}, "nothing listens at 127.0.0.1:1"),
        ({"load": {"kind": "other"}}, "load.kind is 'other', expected one of"),
    ],
)
async def test_what_cannot_begin_says_why(config: dict[str, Any], why: str, unused_tcp_port: int) -> None:
    outcome, has_summary = await coordinate(told("http://127.0.0.1:1", **config), Stop(), Heard(), unused_tcp_port)
    assert not has_summary and outcome.ended == "failed" and why in outcome.why, outcome.why


async def test_asked_to_stop_while_it_waits_for_workers_it_was_interrupted(unused_tcp_port: int) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        stop, heard = Stop(), Heard()
        carrying = asyncio.ensure_future(coordinate(told(server.url), stop, heard, unused_tcp_port))
        async with asyncio.timeout(PATIENCE_S):
            while lines.Said("waiting for workers (1)") not in heard.lines:  # noqa: ASYNC110 (they are listed)
                await asyncio.sleep(0.01)
        stop.ask("spec.stop")
        outcome, has_summary = await asyncio.wait_for(carrying, PATIENCE_S)
    assert (outcome.ended, has_summary) == ("interrupted", False) and "before it began" in outcome.why


def test_a_pod_that_is_told_nothing_says_so_to_its_node(tmp_path: Path) -> None:
    env = {**os.environ, "JOB_COMPLETION_INDEX": "0", "FAIRLEAD_TERMINATION_LOG": str(tmp_path / "log")}
    command = [sys.executable, "-m", "fairlead.cli.main", "bench-pod"]
    process = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    outcome = decode((tmp_path / "log").read_text())
    assert process.returncode == 1 and outcome is not None and "FAIRLEAD_BENCH_TOKEN" in outcome.why
    outside = subprocess.run(
        command, env={**env, "JOB_COMPLETION_INDEX": ""}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert outside.returncode == 2 and "it runs in the Job of a Benchmark" in outside.stderr
