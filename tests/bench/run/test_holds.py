"""What the load itself holds back is told as that: a cap of requests in flight, turns without an answer, back-offs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench.hostile import GOOD, hostile, status
from bench.run.runs import benchmark, records_of, steady
from fairlead.bench.check.witness import null_server
from fairlead.bench.config.error import ConfigError
from fairlead.bench.config.read import read_config
from fairlead.bench.record import Outcome
from fairlead.bench.run import coordinator, run


async def test_no_more_are_in_flight_than_are_allowed_and_the_wait_is_told(tmp_path: Path) -> None:
    """20 requests/s that take 0.2 s each are four at once: three hold some back, in two workers."""
    load = {**steady(20, 2), "max_in_flight": 3}
    async with null_server(0.2, 0.001, 60.0) as server:
        summary = await asyncio.wait_for(run(benchmark(server.url, load, workers=2), tmp_path / "run"), 60)
    (stage,) = summary.stages
    metrics = stage.metrics
    records = records_of(tmp_path / "run")
    ends = sorted([(r.sent_s, 1) for r in records] + [(r.end_s, -1) for r in records])
    most = at_once = 0
    for _, change in ends:
        at_once += change
        most = max(most, at_once)
    assert most <= 3 and metrics.requests == metrics.whole == 40
    assert metrics.hold is not None and metrics.answers.held == metrics.hold.count >= 10
    assert any("held by load.max_in_flight 3" in note for note in stage.verdict.notes)
    for r in records:
        assert r.held_s >= 0 and r.sent_s - r.due_s >= r.held_s + r.worker_lag_s - 1e-6
    # In the order in which they were due, in each worker.
    for worker in (0, 1):
        mine = sorted((r for r in records if r.worker == worker), key=lambda r: r.due_s)
        assert [r.sent_s for r in mine] == sorted(r.sent_s for r in mine)


def test_each_worker_needs_a_part_of_what_may_be_in_flight() -> None:
    document = {
        "targets": [{"url": "http://127.0.0.1:1", "model": "m"}],
        "workers": 4,
        "load": {**steady(1, 1), "max_in_flight": 3},
    }
    with pytest.raises(ConfigError, match=r"workers is 4 and load\.max_in_flight 3"):
        read_config(document)


@pytest.mark.parametrize("retry_after", [False, True])
async def test_users_back_off_from_a_server_that_refuses_at_once(retry_after: bool, tmp_path: Path) -> None:
    load = {"kind": "closed", "stages": [{"users": 4, "seconds": 2}], "retry_after": retry_after}
    refusal = status("503 Service Unavailable", "{}", "Retry-After: 1")
    with hostile(lambda number: (GOOD, False) if number < 4 else (refusal, False)) as server:
        summary = await asyncio.wait_for(run(benchmark(server.url, load), tmp_path / "run"), 60)
        asked = server.requests
    (stage,) = summary.stages
    assert 4 + 4 < asked <= 4 + 4 * (3 if retry_after else 8)
    assert stage.metrics.failures == {"UNAVAILABLE": asked - 4}
    assert any("load.backoff_s" in note for note in stage.verdict.notes)
    for r in records_of(tmp_path / "run"):
        assert (r.backoff_s > 0) == (r.outcome != Outcome.WHOLE)
        assert not retry_after or r.outcome == Outcome.WHOLE or r.backoff_s >= 1.0


async def test_one_user_who_backs_off_does_not_ask_a_dead_server_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "HOPELESS_S", 1.0)
    load = {"kind": "closed", "stages": [{"users": 1, "seconds": 3600}]}
    with hostile(lambda _: (status("503 Service Unavailable"), False)) as server:
        summary = await asyncio.wait_for(run(benchmark(server.url, load)), 60)
        assert 5 <= server.requests < 20
    assert "no request has been whole" in summary.why_ended
