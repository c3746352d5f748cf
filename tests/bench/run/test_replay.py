"""Traces with all that is legal in them come to the server at their own times, by the server's clock."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.run.runs import benchmark
from fairlead.bench.check.witness import null_server
from fairlead.bench.config import TraceContent
from fairlead.bench.content.traces import trace_times
from fairlead.bench.run import run
from fairlead.workload import TraceFile

TIMES_S = [0.0, 0.0, 0.0004, 0.25, 0.2513, 0.9, 1.7]
BEGAN = datetime(2024, 5, 10, 23, 59, 59, 500_000, tzinfo=UTC)


def azure(times_s: Sequence[float]) -> bytes:
    """With a byte order mark, CR LF, empty lines, columns in another order, zones that differ, zero answers."""
    lines = ["\ufeffGeneratedTokens , timestamp,CONTEXTTOKENS,Extra", ""]
    for number, time_s in enumerate(times_s):
        at = BEGAN + timedelta(seconds=time_s)
        written = (
            (at + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00" if number % 2 else at.isoformat()
        )
        lines += [f"5,{written},{40 + number}.0,x", "", f"0,{written},7,x"]
    return "\r\n".join(lines).encode()


def burstgpt(times_s: Sequence[float]) -> bytes:
    rows = [f"{1000 + time_s},GPT-4,{40 + n},5,45,API log" for n, time_s in enumerate(times_s)]
    return gzip.compress(
        "\n".join(["Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type", *rows]).encode()
    )


def mooncake(times_s: Sequence[float]) -> bytes:
    """Milliseconds with fractions, ids that come twice, one prompt of 100,000 tokens."""
    rows = [
        {
            "timestamp": 5e6 + 1e3 * t,
            "input_length": 100_000 if n == 3 else 1500,
            "output_length": 5,
            "hash_ids": [7, 7, n],
        }
        for n, t in enumerate(times_s)
    ]
    return "\n\n".join(map(json.dumps, rows)).encode()


def otel(times_s: Sequence[float]) -> bytes:
    """In microseconds, and not in order."""
    tokens = {"gen_ai.usage.input_tokens": 40, "gen_ai.usage.output_tokens": 5}
    spans = [{"startTime": round(1.7e15 + 1e6 * time_s), "attributes": tokens} for time_s in times_s]
    return json.dumps({"spans": spans[::-1]}, indent=1).encode()


def own(times_s: Sequence[float]) -> bytes:
    return "\n".join(f'{{"time_s":{t},"prompt_tokens":40,"output_tokens":5,"tenant":"a"}}' for t in times_s).encode()


async def replayed(content: dict[str, object], speed: float) -> list[float]:
    """When requests came to the server, from the first on."""
    async with null_server(0.001, 0.0001, 100.0) as server:
        config = benchmark(server.url, {"kind": "trace", "speed": speed}, content={"kind": "trace", **content})
        summary = await asyncio.wait_for(run(config), 90)
        arrivals = await server.arrivals()
    assert summary.stages[0].metrics.whole == len(arrivals)
    return [at - arrivals[0] for at in arrivals]


def typical_error_s(came_s: Sequence[float], wanted_s: Sequence[float]) -> float:
    """The median: single requests may be late on a machine that others load."""
    first = min(a - b for a, b in zip(came_s, wanted_s, strict=True))
    return sorted(a - b - first for a, b in zip(came_s, wanted_s, strict=True))[len(came_s) // 2]


@pytest.mark.parametrize("form", [azure, burstgpt, mooncake, otel, own])
def test_every_format_is_read_with_its_times(form: Callable[[Sequence[float]], bytes], tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(form(TIMES_S))
    assert list(trace_times(TraceContent(path=str(path)))) == pytest.approx(TIMES_S, abs=1e-6)


async def test_a_trace_comes_to_the_server_at_its_own_times(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(mooncake(TIMES_S))
    came_s = await replayed({"path": str(path)}, 2.0)
    assert typical_error_s(came_s, [time_s / 2 for time_s in TIMES_S]) < 0.05


@pytest.mark.parametrize("name", ["azure_llm_2023_code.csv", "azure_llm_2023_conv.csv", "mooncake_conversation.jsonl"])
@pytest.mark.soak
async def test_real_traces_keep_their_times(name: str) -> None:
    """A minute of each, five times as fast. `FAIRLEAD_TRACES` is their folder."""
    path = Path(os.environ.get("FAIRLEAD_TRACES", Path(__file__).parents[4] / "shared" / "traces")) / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    wanted_s = [(r.time_s - 600) / 5 for r in TraceFile(path) if 600 <= r.time_s < 660]
    content = {"path": str(path), "first_s": 600.0, "last_s": 660.0, "max_output_tokens": 4}
    came_s = await replayed(content, 5.0)
    assert typical_error_s(came_s, wanted_s) < 0.02
