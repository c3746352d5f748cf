"""What a worker is given ahead of time is bounded, and forgotten when its time has come."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bench.hostile import GOOD, hostile
from bench.run.runs import benchmark, steady
from fairlead.bench.run import Stop, coordinator, feed, run
from fairlead.bench.run.coordinator import Coordinator
from fairlead.bench.run.crew import Member
from fairlead.bench.run.feed import Feed
from fairlead.bench.run.preparation import Preparation
from fairlead.bench.session import Job, PreparedTurn
from fairlead.bench.wire import Pulse
from patience import PATIENCE_S


def job(number: int, due_s: float) -> Job:
    return Job(number, 0, due_s, 0, -1, b"head", [PreparedTurn([b"body"], 1, 1, 0.0)])


def pulse(at_s: float, queued: int, received: int) -> Pulse:
    return Pulse(0, at_s, 0.1, 0.25, 0, 1, 0, queued, 0.0, [], received)


async def member() -> Member:
    return Member(0, lambda *_: None, lambda *_: None)


async def test_bodies_are_forgotten_as_their_time_comes() -> None:
    worker = await member()
    worker.hand([job(n, n / 10) for n in range(100)], 100 * 50)
    worker._take(pulse(5.05, 49, 100))
    assert worker.ahead_bytes == 49 * 50
    assert [each.number for each in worker.waiting(5.05)] == list(range(51, 100))


async def test_of_users_those_are_that_have_been_taken_and_not_those_on_the_way() -> None:
    worker = await member()
    worker.hand([job(n, -1.0) for n in range(10)], 500)
    worker.hand([job(n, -1.0) for n in range(10, 15)], 250)
    # Said when the second message had not come: six of the first ten have been taken.
    worker._take(pulse(1.0, 4, 10))
    assert worker.wanted(5) == 2 * 5 - 9
    assert worker.ahead_bytes == 9 * 50
    assert [each.number for each in worker.waiting(1.0)] == list(range(6, 15))


async def test_users_are_given_enough_until_it_is_known_how_fast_they_are(tmp_path: Path) -> None:
    """Twice as many as users would be gone before the first pulse, and all would wait for the client."""
    worker = await member()
    assert (worker.wanted(4, 256), worker.wanted(500, 256)) == (256, 1000)
    worker.hand([job(n, -1.0) for n in range(256)], 256)
    worker._take(pulse(0.25, 156, 256))
    assert worker.wanted(4, 256) < 0
    load = {"kind": "closed", "stages": [{"users": 4, "requests": 6}]}
    row = tmp_path / "rows.jsonl"
    row.write_text('{"prompt": "once"}')
    for content, jobs in (
        ({"kind": "synthetic"}, (256, 4000)),
        ({"kind": "file", "path": str(row)}, (256, 4000)),
        ({"kind": "file", "path": str(row), "repeat": False}, (8, 1000)),
    ):
        config = benchmark("http://127.0.0.1:1", load, content=content)
        hands = Feed(Preparation(config), [], lambda: 0.0)
        assert (hands.first_jobs(4), hands.first_jobs(500)) == jobs


async def test_more_than_fits_ahead_is_sent_by_users_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "AHEAD_BYTES", 10_000)  # some twenty bodies
    load = {"kind": "closed", "stages": [{"users": 4, "requests": 120}]}
    with hostile(lambda _: (GOOD, False)) as server:
        summary = await asyncio.wait_for(run(benchmark(server.url, load, timeout_s=20.0)), 60)
    assert summary.ended == "complete", summary.why_ended
    assert summary.stages[0].metrics.whole == 120


async def test_the_first_jobs_of_users_are_there_before_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that is slow to begin with would make all of them late; none of it is lost, and none is left over."""
    made: list[tuple[str, int]] = []
    make = Preparation.job

    def noted(self: Preparation, *arguments: Any) -> Job:
        made.append((running._phase, self._number))
        return make(self, *arguments)

    monkeypatch.setattr(Preparation, "job", noted)
    load = {"kind": "closed", "stages": [{"users": 4, "requests": 6}, {"users": 2, "requests": 5}]}
    with hostile(lambda _: (GOOD, False)) as server:
        running = Coordinator(benchmark(server.url, load), None, lambda _: None, Stop())
        summary = await asyncio.wait_for(running.run(), 60)
    assert [number for _, number in made] == list(range(11))
    assert [phase for phase, _ in made[:6]] == ["preparing"] * 6
    assert [stage.metrics.whole for stage in summary.stages] == [6, 5]


async def test_a_worker_that_falls_ever_further_behind_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "BEHIND_BYTES", 150_000)
    with hostile(lambda _: (GOOD, False)) as server:
        one = Coordinator(benchmark(server.url, steady(200, 600), workers=1, drain_s=0.5), None, lambda _: None, Stop())
        running = asyncio.ensure_future(one.run())
        await server.reached(20)
        stuck = one._members[0].pid
        os.kill(stuck, signal.SIGSTOP)
        try:
            await asyncio.wait_for(one._stop.wait(0), PATIENCE_S)
        finally:
            os.kill(stuck, signal.SIGCONT)
        summary = await asyncio.wait_for(running, PATIENCE_S)
    assert summary.ended == "interrupted"
    assert "requests whose time had come were waiting in worker 0" in summary.why_ended
    assert not summary.valid
