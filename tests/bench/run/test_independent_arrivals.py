"""When requests are sent, by a witness that is not ours: the kernel's time of receipt, at a server without a line of
Fairlead in it. What records say must enclose it, and what was due must be what was asked for, by mathematics of their
own."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import kstest

from bench.run.runs import benchmark
from fairlead.bench.record import Outcome, Record
from fairlead.bench.run import run
from fairlead.bench.run.observing import Observed

RATE, SECONDS = 240.0, 1.25
COUNT = int(RATE * SECONDS)
CLOCK_S = 0.002
"""Between the wall clock of the kernel's stamps and the monotonic one: adjusted in steps of NTP, and read in turn."""
TRACE_S = [0.004 * k + 0.3 * (k // 100) for k in range(300)]
"""Three bursts with pauses between them."""


@dataclass
class Watch:
    """Hears the records of a run and its origin."""

    name: str = "watch"
    origin_s: float = 0.0
    records: list[Record] = field(default_factory=list)

    async def prepare(self) -> None: ...

    def begin(self, origin_s: float) -> None:
        self.origin_s = origin_s

    def add(self, records: Sequence[Record]) -> None:
        self.records += records

    async def end(self) -> Observed:
        return Observed()


@pytest.fixture
def witness() -> Iterator[tuple[str, Callable[[], list[float]]]]:
    """Its address, and what it saw: asked once, at the end."""
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("kernel_witness.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())

        def arrivals() -> list[float]:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as asking:
                asking.sendall(b"what came?")
                return [float(at) for at in json.loads(asking.makefile().read())]

        yield f"http://127.0.0.1:{port}", arrivals
        server.kill()


def load(process: str, to: float | None = None, **more: Any) -> dict[str, Any]:
    stage = {"rate_per_s": RATE, "seconds": SECONDS} | ({"to_rate_per_s": to} if to is not None else {})
    return {"kind": "open", "process": process, "stages": [stage], **more}


def are_even(due_s: list[float]) -> None:
    assert due_s == pytest.approx([(k + 0.5) / RATE for k in range(COUNT)], abs=1e-9)


def are_ramped(due_s: list[float]) -> None:
    """From 240 to 80 a second in 1.25 s: the k-th comes when ∫ rate = k + ½, here by the other root formula."""
    a, b = (80.0 - RATE) / (2 * SECONDS), RATE
    expected = [(-b + math.sqrt(b * b + 4 * a * (k + 0.5))) / (2 * a) for k in range(200)]
    assert due_s == pytest.approx(expected, abs=1e-6)


def are_poisson(due_s: list[float]) -> None:
    gaps = [b - a for a, b in itertools.pairwise([0.0, *due_s])]
    assert kstest(gaps, "expon", args=(0, 1 / RATE)).pvalue > 0.01
    assert abs(correlation(gaps)) < 3 / math.sqrt(len(gaps))
    # Given their number, the times of a Poisson process are uniform.
    assert kstest(due_s, "uniform", args=(0, SECONDS)).pvalue > 0.01


def are_bursty(due_s: list[float]) -> None:
    """Gamma with a coefficient of variation of 2: shape ¼."""
    gaps = [b - a for a, b in itertools.pairwise([0.0, *due_s])]
    assert kstest(gaps, "gamma", args=(0.25, 0, 4 / RATE)).pvalue > 0.01
    assert kstest(gaps, "expon", args=(0, 1 / RATE)).pvalue < 1e-6
    assert abs(correlation(gaps)) < 3 / math.sqrt(len(gaps))


def are_the_trace(due_s: list[float]) -> None:
    assert due_s == pytest.approx([at / 2 for at in TRACE_S], abs=1e-9)


def correlation(values: list[float]) -> float:
    """Of each with the next."""
    mean = sum(values) / len(values)
    off = [value - mean for value in values]
    return sum(a * b for a, b in itertools.pairwise(off)) / sum(a * a for a in off)


@pytest.mark.parametrize(
    ("asked", "workers", "are_as_asked"),
    [
        pytest.param(load("constant"), 2, are_even, id="constant, two workers"),
        pytest.param(load("constant", 80.0), 1, are_ramped, id="ramp"),
        pytest.param(load("poisson"), 1, are_poisson, id="poisson"),
        pytest.param(load("gamma", cv=2.0), 1, are_bursty, id="gamma"),
        pytest.param({"kind": "trace", "speed": 2.0}, 1, are_the_trace, id="trace"),
    ],
)
def test_requests_arrive_when_records_say_and_were_due_when_they_should_be(
    witness: tuple[str, Callable[[], list[float]]], tmp_path: Path, asked: dict[str, Any], workers: int,
    are_as_asked: Callable[[list[float]], None],
) -> None:  # fmt: skip
    url, arrivals_of = witness
    watch, more = Watch(), {}
    if asked["kind"] == "trace":
        lines = [{"time_s": at, "prompt_tokens": 16, "output_tokens": 1} for at in TRACE_S]
        (tmp_path / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        more["content"] = {"kind": "trace", "path": str(tmp_path / "trace.jsonl")}
    summary = asyncio.run(run(benchmark(url, asked, workers=workers, seed=7, **more), observers=[watch]))
    arrivals, records = arrivals_of(), sorted(watch.records, key=lambda record: record.due_s)
    assert summary.ended == "complete" and all(record.outcome == Outcome.WHOLE for record in records)
    # Every request that was due was sent, once, and nothing else was.
    assert sorted(record.server_prompt_tokens for record in records) == list(range(1, len(arrivals) + 1))
    are_as_asked([record.due_s for record in records])
    for record in records:
        arrived_s = arrivals[record.server_prompt_tokens - 1] - watch.origin_s
        assert record.due_s <= record.sent_s
        assert record.sent_s - CLOCK_S <= arrived_s <= record.first_byte_s + CLOCK_S
    # A worker sends one after the other: in its order they arrive, to the kernel's nanosecond.
    for worker in range(workers):
        mine = sorted((r for r in records if r.worker == worker), key=lambda record: record.sent_s)
        in_order = [arrivals[record.server_prompt_tokens - 1] for record in mine]
        assert in_order == sorted(in_order) and len(mine) >= len(records) // workers
