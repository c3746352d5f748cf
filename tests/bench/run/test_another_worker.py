"""A worker that is too busy gets help while the run goes on: nothing is lost, sent twice, or sent out of time."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from bench.run.runs import benchmark, records_of, steady
from fairlead.bench.check.witness import null_server
from fairlead.bench.run import Stop, coordinator, feed, workers
from fairlead.bench.run.coordinator import Coordinator


async def test_a_further_worker_takes_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too busy from the first look on, and three cores to spare."""
    monkeypatch.setattr(workers, "TOO_BUSY", 0.0)
    monkeypatch.setattr(feed, "AHEAD_S", 0.6)
    monkeypatch.setattr(coordinator, "TICK_S", 0.1)
    cap = 5
    load = {**steady(60, 4), "max_in_flight": cap}
    async with null_server(0.05, 0.001, 60.0) as server:
        run = Coordinator(benchmark(server.url, load), tmp_path / "run", lambda _: None, Stop())
        run._cores = 3
        summary = await asyncio.wait_for(run.run(), 60)
        arrivals = await server.arrivals()
    (stage,) = summary.stages
    records = records_of(tmp_path / "run")
    assert summary.ended == "complete"
    assert [note for note in summary.notes if "further worker" in note]
    assert len(records) == len({r.number for r in records}) == len(arrivals) == stage.metrics.whole == 240
    sent = Counter(r.worker for r in records)
    assert set(sent) == {0, 1} and sent[1] >= 20
    origin_s = arrivals[0] - min(r.sent_s for r in records)
    by_server, by_us = [at - origin_s for at in arrivals], sorted(r.sent_s for r in records)
    assert max(abs(a - b) for a, b in zip(by_server, by_us, strict=True)) < 1.0
    # From when it has taken up its work the two take turns.
    joined_s = min(r.due_s for r in records if r.worker == 1)
    later = sorted((r for r in records if r.due_s >= joined_s + 0.1), key=lambda r: r.due_s)
    assert abs(2 * sum(r.worker for r in later) - len(later)) <= 4
    ends = sorted([(r.sent_s, 1) for r in records] + [(r.end_s, -1) for r in records])
    at_once = [sum(change for _, change in ends[: at + 1]) for at in range(len(ends))]
    assert max(at_once) <= cap + 2  # those that the first worker had when its part became smaller
