"""Turns that follow each other: a trace's wait for the answer before them; what becomes of those left at the end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench.hostile import GOOD, hostile, status
from bench.run.runs import benchmark, records_of, steady
from fairlead.bench.check.witness import null_server
from fairlead.bench.record import Outcome
from fairlead.bench.run import run

TRACED = {"kind": "trace"}


async def test_turns_of_a_trace_wait_for_the_answer_before_them_and_all_else_keeps_its_time(tmp_path: Path) -> None:
    """Of session s a turn comes each 0.2 s, and an answer takes 0.4 s; alone is nobody's turn."""
    rows: list[dict[str, Any]] = []
    for number in range(12):
        rows.append({"time_s": 0.1 * number, "prompt_tokens": 16, "output_tokens": 5})
        if number < 8 and number % 2 == 0:
            rows.append({"time_s": 0.1 * number, "prompt_tokens": 16, "output_tokens": 5, "session": "s"})
        if number == 6:
            rows.append({"time_s": 0.1 * number, "prompt_tokens": 16, "output_tokens": 5, "session": "other"})
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    content = {"kind": "trace", "path": str(path)}
    async with null_server(0.4, 0.0001, 60.0) as server:
        config = benchmark(server.url, TRACED, content=content, workers=2)
        summary = await asyncio.wait_for(run(config, tmp_path / "run"), 60)
        arrivals = await server.arrivals()
    records = records_of(tmp_path / "run")
    (stage,) = summary.stages
    assert len(records) == len(arrivals) == len(rows) == stage.metrics.whole
    held = sorted((r for r in records if r.held_s > 0), key=lambda r: r.due_s)
    assert [round(r.due_s, 6) for r in held] == [0.2, 0.4, 0.6]
    first = min((r for r in records if r.due_s == 0), key=lambda r: r.number if r.number == 1 else 99)
    chain = [first, *held]
    for before, after in zip(chain, held, strict=False):
        assert after.due_s + after.held_s == pytest.approx(before.end_s, abs=1e-9)
        assert after.sent_s > before.end_s
    assert stage.metrics.hold is not None and stage.metrics.hold.count == 3
    assert any("held by the answer before them in their session" in note for note in stage.verdict.notes)


async def test_a_failed_turn_does_not_keep_the_next_one_for_ever(tmp_path: Path) -> None:
    rows = [{"time_s": 0.1 * n, "prompt_tokens": 16, "output_tokens": 3, "session": "s"} for n in range(4)]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    bad = (status("500 Internal Server Error"), False)
    with hostile(lambda number: bad if number == 1 else (GOOD, False)) as server:
        config = benchmark(server.url, TRACED, content={"kind": "trace", "path": str(path)})
        summary = await asyncio.wait_for(run(config), 60)
    assert summary.stages[0].metrics.whole == 3 and summary.stages[0].metrics.failures == {"HTTP_5XX": 1}


def conversations(pause_s: float) -> dict[str, Any]:
    one = {"kind": "fixed", "tokens": 8}
    turns = {"kind": "fixed", "tokens": 2}
    return {
        "kind": "synthetic", "prompt_tokens": one, "output_tokens": one,
        "conversations": {"turns": turns, "pause_s": pause_s},
    }  # fmt: skip


async def test_sessions_go_on_while_what_is_in_flight_may_end(tmp_path: Path) -> None:
    """A turn whose user still thinks as the load ends is sent, and none is left."""
    async with null_server(0.01, 0.001, 60.0) as server:
        config = benchmark(server.url, steady(10, 1), content=conversations(0.3), drain_s=30.0)
        summary = await asyncio.wait_for(run(config, tmp_path / "run"), 60)
    records = records_of(tmp_path / "run")
    assert len(records) == 20 and {r.outcome for r in records} == {Outcome.WHOLE}
    (stage,) = summary.stages
    assert max(r.due_s for r in records) > stage.end_s
    assert stage.metrics.answers.unfinished == 0
    assert summary.seconds < 25  # not all of drain_s


@pytest.mark.parametrize("kind", ["open", "closed"])
async def test_sessions_that_are_cut_short_are_told(kind: str, tmp_path: Path) -> None:
    closed = {"kind": "closed", "stages": [{"users": 6, "seconds": 1}]}
    async with null_server(0.01, 0.001, 60.0) as server:
        load = steady(10, 1) if kind == "open" else closed
        config = benchmark(server.url, load, content=conversations(3600.0), drain_s=20.0)
        summary = await asyncio.wait_for(run(config, tmp_path / "run"), 60)
    (stage,) = summary.stages
    cut = 10 if kind == "open" else 6
    assert stage.metrics.answers.unfinished == cut
    assert any(f"{cut} sessions had turns left" in note for note in stage.verdict.notes)
    assert {r.outcome for r in records_of(tmp_path / "run")} == {Outcome.WHOLE}
    assert summary.seconds < 15  # nobody will come within drain_s: nothing is waited for
