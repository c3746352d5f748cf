"""Content that turns out to be broken while a run goes on ends it as failed, with all that ran told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec

from bench.hostile import GOOD, hostile
from bench.run.runs import benchmark, records_of, steady
from fairlead.bench.record import Outcome
from fairlead.bench.run import run
from fairlead.bench.summary import RunSummary
from fairlead.cli.bench_run import FAILED, exit_status


async def test_a_broken_row_in_the_middle_of_a_file_is_named_and_what_ran_is_reported(tmp_path: Path) -> None:
    """At 40 requests/s row 301 is made five seconds before it is due: after 2.5 s."""
    path = tmp_path / "prompts.jsonl"
    rows = [json.dumps({"prompt": f"question {number}", "answer": 3}) for number in range(1, 500)]
    rows[300] = json.dumps({"prompt": "question 301", "answer": {"tokens": 3}})
    path.write_text("\n".join(rows))
    content = {"kind": "file", "path": str(path), "output_column": "answer", "repeat": False}
    with hostile(lambda _: (GOOD, False)) as server:
        config = benchmark(server.url, steady(40, 60), content=content)
        summary = await asyncio.wait_for(run(config, tmp_path / "run"), 60)
        asked = server.requests
    assert summary.ended == "failed" and exit_status(summary) == FAILED
    for words in (f"{path}, row 301", "answer is {'tokens': 3}", "expected a text, or a number of tokens"):
        assert words in summary.why_ended
    (stage,) = summary.stages
    assert 40 <= stage.metrics.whole == stage.metrics.requests == asked < 300
    assert stage.end_s < 20 and 30 < stage.metrics.requests_per_s <= 44  # of the time until then
    assert len([r for r in records_of(tmp_path / "run") if r.outcome == Outcome.WHOLE]) == asked
    kept = msgspec.json.decode((tmp_path / "run" / "summary.json").read_bytes(), type=RunSummary)
    assert (kept.ended, kept.why_ended) == (summary.ended, summary.why_ended)


async def test_content_that_is_broken_at_once_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"question": {}}\n')
    content = {"kind": "file", "path": str(path)}
    with hostile(lambda _: (GOOD, False)) as server:
        for load in (steady(40, 60), {"kind": "closed", "stages": [{"users": 2, "seconds": 60}]}):
            try:
                summary = await asyncio.wait_for(run(benchmark(server.url, load, content=content)), 60)
            except ValueError as error:
                said = str(error)
            else:
                assert summary.ended == "failed"
                said = summary.why_ended
            assert f"{path}, row 1: question is {{}}" in said
        assert server.requests == 0
