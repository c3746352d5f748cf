"""Workers that are killed, people who press Ctrl-C, folders that are full."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from bench.hostile import GOOD, HEAD, event, hostile
from bench.run.runs import benchmark, records_of, steady
from fairlead.bench.record import Outcome
from fairlead.bench.run import Stop, run
from fairlead.bench.run.coordinator import Coordinator


async def test_a_killed_workers_requests_are_lost_and_others_go_on(tmp_path: Path) -> None:
    with hostile(lambda number: (GOOD, False) if number % 10 else (HEAD + event(), False)) as server:
        config = benchmark(server.url, steady(40, 4), target={"idle_timeout_s": 30.0}, workers=2)
        coordinator = Coordinator(config, tmp_path / "run", lambda _: None, Stop())
        running = asyncio.ensure_future(coordinator.run())
        await server.reached(60)
        victim = coordinator._members[0]
        os.kill(victim.pid, signal.SIGKILL)
        summary = await asyncio.wait_for(running, 60)
    (stage,) = summary.stages
    metrics = stage.metrics
    assert summary.ended == "complete" and not summary.valid
    assert metrics.failures["LOST"] >= 1
    assert metrics.requests == 160, metrics.failures  # each that was due is accounted for
    assert any("worker 0 was lost" in reason for reason in stage.verdict.reasons)
    assert any("killed by signal 9" in note for note in summary.notes)
    after = [r for r in records_of(tmp_path / "run") if r.due_s > 3.0 and r.outcome == Outcome.WHOLE]
    assert after and {r.worker for r in after} == {1}


async def test_when_every_worker_is_lost_the_run_has_failed() -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        coordinator = Coordinator(benchmark(server.url, steady(20, 30)), None, lambda _: None, Stop())
        running = asyncio.ensure_future(coordinator.run())
        await server.reached(10)
        os.kill(coordinator._members[0].pid, signal.SIGKILL)
        summary = await asyncio.wait_for(running, 60)
    assert (summary.ended, summary.why_ended) == ("failed", "every worker was lost")
    assert not summary.valid


@pytest.mark.parametrize("load", ["open", "closed"])
async def test_stopped_once_it_reports_what_ran(load: str, tmp_path: Path) -> None:
    closed = {"kind": "closed", "stages": [{"users": 4, "seconds": 600}], "think_s": 0.05}
    with hostile(lambda _: (GOOD, False)) as server:
        stop = Stop()
        config = benchmark(server.url, steady(40, 600) if load == "open" else closed)
        running = asyncio.ensure_future(run(config, tmp_path / "run", None, stop))
        await server.reached(30)
        stop.ask("a person asked")
        summary = await asyncio.wait_for(running, 60)
    (stage,) = summary.stages
    assert (summary.ended, summary.why_ended) == ("interrupted", "a person asked")
    assert stage.metrics.whole >= 20
    assert (tmp_path / "run" / "summary.json").exists()
    assert len(records_of(tmp_path / "run")) >= stage.metrics.whole


async def test_stopped_twice_it_waits_for_nobody() -> None:
    with hostile(lambda _: None) as server:
        stop = Stop()
        config = benchmark(server.url, steady(40, 600), drain_s=600.0)
        running = asyncio.ensure_future(run(config, None, None, stop))
        await server.reached(20)
        stop.ask("once")
        await asyncio.sleep(0.2)
        stop.ask("twice")
        summary = await asyncio.wait_for(running, 60)
    assert summary.ended == "interrupted"
    assert set(summary.stages[0].metrics.failures) <= {"ABORTED"}


async def test_a_folder_that_cannot_be_made_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        await run(benchmark("http://127.0.0.1:1", steady(1, 1)), tmp_path / "file" / "run")


async def test_a_run_ends_with_its_time() -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        summary = await asyncio.wait_for(run(benchmark(server.url, steady(20, 600), timeout_s=2.0)), 60)
    assert summary.ended == "interrupted" and "timeout_s is 2" in summary.why_ended
    assert summary.stages[0].metrics.whole >= 10
