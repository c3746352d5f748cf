"""Clients that are too slow, stopped or starved, for real: real workers against the null server. Every such stage must
be invalid, and say why; never a figure that looks sound."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fairlead.bench.config import (
    Benchmark,
    ClosedLoop,
    ClosedStage,
    Load,
    OpenLoop,
    OpenStage,
    SyntheticContent,
    Target,
)
from fairlead.bench.run import run
from fairlead.bench.run.live import Progress
from fairlead.bench.summary import StageSummary

pytestmark = pytest.mark.xdist_group("bench-overloaded")

SECONDS = 4.0
OPEN = OpenLoop(stages=(OpenStage(rate_per_s=50, seconds=SECONDS),), process="constant")
CLOSED = ClosedLoop(stages=(ClosedStage(users=4, seconds=SECONDS),))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a null server: 20 ms to the first token, 5 ms between tokens."""
    command = [sys.executable, "-m", "fairlead.bench.check.null_server", "--seconds", "300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def worker_pid() -> int:
    """Of this process's worker."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"fairlead.bench.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
    raise LookupError("there is no worker")


def measure(
    url: str, load: Load, spoil: Callable[[int], Awaitable[None]] | None = None, output_tokens: int = 8, **more: object
) -> StageSummary:
    """One stage with one worker, whose process `spoil` is given while the stage is on."""
    target = {"url": url, "model": "m", **more}
    lengths = {"kind": "fixed", "tokens": 8}
    outputs = {"kind": "fixed", "tokens": output_tokens}
    content = {"kind": "synthetic", "prompt_tokens": lengths, "output_tokens": outputs}
    config = Benchmark(
        targets=(msgspec.convert(target, Target),), load=load, workers=1, drain_s=10.0,
        content=msgspec.convert(content, SyntheticContent),
    )  # fmt: skip

    async def go() -> StageSummary:
        under_way = asyncio.Event()

        def look(progress: Progress) -> None:
            if progress.phase != "preparing" and max(progress.ended, progress.in_flight) > 10:
                under_way.set()

        running = asyncio.ensure_future(run(config, progress=look))
        if spoil is not None:
            await under_way.wait()
            await spoil(worker_pid())
        return (await running).stages[0]

    return asyncio.run(go())


async def stop_for_a_while(pid: int) -> None:
    """A third of the stage, as when a machine swaps or a hypervisor takes the CPU away."""
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(1.0)
    os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def busy(core: int) -> AsyncIterator[None]:
    """Loops that take all of a core from a process that is nicer than they are."""
    script = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    loops = [await asyncio.create_subprocess_exec(sys.executable, "-c", script) for _ in range(2)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            await loop.wait()


async def starve(pid: int) -> None:
    """The worker gets what two busy processes leave of its core, as one that may not go first."""
    core = min(os.sched_getaffinity(0))
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(pid, {core})
    os.setpriority(os.PRIO_PROCESS, pid, 19)
    async with busy(core):
        await asyncio.sleep(2.0)


@pytest.mark.parametrize("load", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_worker_that_is_stopped_for_a_second(url: str, load: Load) -> None:
    stage = measure(url, load, stop_for_a_while)
    assert not stage.verdict.valid
    assert stage.client.stalled_share > 0.05
    assert any("stood still" in reason for reason in stage.verdict.reasons), stage.verdict
    if load is OPEN:
        assert any("client lag p99" in reason for reason in stage.verdict.reasons), stage.verdict
        # What the server was not guilty of is in the times from due, and not in those from sent.
        assert stage.metrics.ttft_from_due is not None
        assert stage.metrics.ttft_from_due.maximum > 0.5


def test_a_worker_that_is_starved_of_cpu(url: str) -> None:
    verdict = measure(url, OPEN, starve).verdict
    assert not verdict.valid
    assert any("client lag p99" in reason or "event loop" in reason for reason in verdict.reasons), verdict


def test_more_requests_than_a_worker_can_send(url: str) -> None:
    load = OpenLoop(stages=(OpenStage(rate_per_s=20_000, seconds=1.0),), process="constant")
    verdict = measure(url, load).verdict
    assert not verdict.valid
    assert any("client" in reason or "worker" in reason for reason in verdict.reasons), verdict


def test_a_worker_that_is_stopped_while_the_last_answers_come(url: str) -> None:
    """After the stage's end, where its pulses are nobody's any more: its records know."""

    async def stop_after_the_end(pid: int) -> None:
        await asyncio.sleep(0.4)
        await stop_for_a_while(pid)

    load = OpenLoop(stages=(OpenStage(rate_per_s=20, seconds=1.0),), process="constant")
    stage = measure(url, load, stop_after_the_end, output_tokens=250)
    assert stage.metrics.whole == 20 and stage.metrics.e2e is not None
    assert stage.metrics.e2e.maximum > 1.9  # of 1.27
    assert any("client error p99" in reason for reason in stage.verdict.reasons), stage.verdict


def test_a_worker_that_has_no_file_left_for_a_connection(url: str) -> None:
    async def take_files(pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (24, 24))

    load = OpenLoop(stages=(OpenStage(rate_per_s=200, seconds=1.0),), process="constant")
    stage = measure(url, load, take_files, output_tokens=100)
    assert set(stage.metrics.failures) == {"CLIENT_LIMIT"}
    assert any("CLIENT_LIMIT" in reason and "ulimit -n" in reason for reason in stage.verdict.reasons), stage.verdict


def test_requests_that_wait_for_one_of_few_connections_are_held_by_the_load(url: str) -> None:
    load = OpenLoop(stages=(OpenStage(rate_per_s=50, seconds=1.0),), process="constant")
    stage = measure(url, load, max_connections=1)
    metrics = stage.metrics
    assert metrics.hold is not None and metrics.hold.maximum > 0.5
    assert metrics.ttft is not None and metrics.ttft.percentiles[50.0] < 0.1
    assert metrics.ttft_from_due is not None and metrics.ttft_from_due.maximum > 0.5
    assert any("held by max_connections" in reason for reason in stage.verdict.reasons), stage.verdict
    assert any("the load was not open then" in note for note in stage.verdict.notes)


async def stand_still(_: int) -> None:
    """All of this process, the coordinator in it."""
    time.sleep(1.5)  # noqa: ASYNC251


def test_a_coordinator_that_stands_still_costs_no_figures(url: str) -> None:
    """What is handed over lasts for longer than that."""
    stage = measure(url, OPEN, stand_still)
    assert not any("sent late" in reason for reason in stage.verdict.reasons), stage.verdict
    assert stage.metrics.requests == stage.metrics.whole == 200


def test_users_that_run_out_of_jobs_as_the_coordinator_stands_still_are_told(url: str) -> None:
    """At the beginning of a stage there is not enough for so long."""
    stage = measure(url, CLOSED, stand_still)
    busy_share = stage.metrics.in_flight.mean / 4 if stage.metrics.in_flight is not None else 0.0
    assert busy_share > 0.95 or any("users waited" in reason for reason in stage.verdict.reasons), stage.verdict
