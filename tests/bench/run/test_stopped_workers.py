"""A worker that stands still for good: the run does not wait for it, and leaves it not behind."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from bench.hostile import GOOD, hostile
from bench.run.runs import benchmark, steady
from fairlead.bench.run import Stop
from fairlead.bench.run.coordinator import Coordinator
from patience import PATIENCE_S


async def test_a_worker_that_says_nothing_any_more_is_lost_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.bench.run.links.LocalProcess.silent_s", 1.5)
    with hostile(lambda _: (GOOD, False)) as server:
        coordinator = Coordinator(benchmark(server.url, steady(20, 600), workers=1), None, lambda _: None, Stop())
        running = asyncio.ensure_future(coordinator.run())
        await server.reached(10)
        pid = coordinator._members[0].pid
        os.kill(pid, signal.SIGSTOP)
        summary = await asyncio.wait_for(running, PATIENCE_S)
    assert (summary.ended, summary.why_ended) == ("failed", "every worker was lost")
    assert any("it said nothing for" in note for note in summary.notes), summary.notes
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
