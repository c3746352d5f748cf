"""Workers that call a coordinator over TCP: who is let in, who is lost, and when nobody comes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from bench.hostile import GOOD, hostile
from bench.run.runs import benchmark, records_of, steady
from fairlead.bench.cluster.calling import NobodyThere, ask_to_stop, call
from fairlead.bench.cluster.greeting import MAGIC, STOP, WORKER, Stranger, greet
from fairlead.bench.cluster.rendezvous import Rendezvous
from fairlead.bench.record import Outcome
from fairlead.bench.run import RunFailed, Stop, run
from fairlead.bench.run.live import Progress
from patience import PATIENCE_S

TOKEN = b"a token that only the pods of this run have"


@contextlib.asynccontextmanager
async def rendezvous(
    count: int, within_s: float = PATIENCE_S, stop: Stop | None = None
) -> AsyncIterator[tuple[Rendezvous, int]]:
    made = Rendezvous(TOKEN, count, within_s, stop or Stop(), lambda number: f"pod b-{number + 1}")
    try:
        yield made, await made.listen("127.0.0.1", 0)
    finally:
        await made.close()


AHEAD_S = 100_000
ELSEWHEN = ["unshare", "--user", "--map-root-user", "--time", "--monotonic", str(AHEAD_S), "--"]
"""A process with another clock than ours, as on another host (time_namespaces(7))."""


async def started(
    port: int, number: int, token: bytes = TOKEN, within: Sequence[str] = ()
) -> asyncio.subprocess.Process:
    env = {**os.environ, "FAIRLEAD_BENCH_TOKEN": token.decode(), "FAIRLEAD_BENCH_WORKER": str(number)}
    return await asyncio.create_subprocess_exec(
        *within, sys.executable, "-m", "fairlead.bench.worker", f"127.0.0.1:{port}", env=env,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def ended(*processes: asyncio.subprocess.Process) -> list[int]:
    for process in processes:
        if process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), PATIENCE_S)
            except TimeoutError:
                process.kill()
                await process.wait()
    return [process.returncode or 0 for process in processes]


@pytest.fixture
def elsewhen() -> Sequence[str]:
    """What to start a process with, for a clock of its own; nothing where the kernel has none to give."""
    return ELSEWHEN if subprocess.run([*ELSEWHEN, "true"], capture_output=True).returncode == 0 else ()


async def test_a_run_with_workers_that_call_is_as_any_other(elsewhen: Sequence[str], tmp_path: Path) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        async with rendezvous(2) as (crew, port):
            workers = [await started(port, 1), await started(port, 0, within=elsewhen)]
            config = benchmark(server.url, steady(40, 2), workers=2)
            summary = await asyncio.wait_for(run(config, tmp_path / "run", crew=crew), PATIENCE_S)
        assert await ended(*workers) == [0, 0]
    (stage,) = summary.stages
    assert summary.ended == "complete" and stage.metrics.whole == stage.metrics.requests == 80, summary.notes
    kept = records_of(tmp_path / "run")
    assert {record.worker for record in kept} == {0, 1}
    # By whichever clock: evenly, none before it was due, and all of it within the run.
    by_due = sorted(kept, key=lambda record: record.due_s)
    assert all(abs(b.due_s - a.due_s - 1 / 40) < 1e-6 for a, b in itertools.pairwise(by_due))
    assert all(0 <= r.due_s <= r.sent_s < summary.seconds for r in kept)
    clocks = summary.environment["clocks"]
    assert isinstance(clocks, list) and [each["worker"] for each in clocks] == [0, 1]
    assert all(each["error_ms"] <= each["worst_ms"] < 1000 for each in clocks)


@contextlib.asynccontextmanager
async def far_away(port: int, there_s: float, back_s: float) -> AsyncIterator[int]:
    """A way to a coordinator that takes its time, and not as long there as back."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(2**16):
            loop.call_later(delay_s, writer.write, data)
        loop.call_later(delay_s, writer.close)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        further, back = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError):
            await asyncio.gather(carry(reader, back, there_s), carry(further, writer, back_s))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_worker_may_be_far_away_and_how_sure_its_clock_is_is_told() -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        async with rendezvous(1) as (crew, port), far_away(port, 0.02, 0.5) as entrance:
            worker = await started(entrance, 0)
            config = benchmark(server.url, steady(40, 2), workers=1)
            limits = msgspec.structs.replace(config.client, lag_ms=100.0, lag_share=1.0)
            config = msgspec.structs.replace(config, client=limits)
            summary = await asyncio.wait_for(run(config, crew=crew), PATIENCE_S)
        await ended(worker)
    (stage,) = summary.stages
    assert stage.metrics.whole == 80, summary.notes
    (clock,) = summary.environment["clocks"]  # type: ignore[misc]
    assert clock["error_ms"] >= 250  # half of the way there and back, and no less
    assert any("clocks of workers may have been" in note for note in stage.verdict.notes), stage.verdict


async def test_a_worker_that_is_killed_elsewhere_is_lost_and_the_others_go_on(tmp_path: Path) -> None:
    with hostile(lambda number: (GOOD, False) if number % 10 else None) as server:
        async with rendezvous(2) as (crew, port):
            workers = [await started(port, 0), await started(port, 1)]
            config = benchmark(server.url, steady(40, 3), workers=2, drain_s=0.5)
            running = asyncio.ensure_future(run(config, tmp_path / "run", crew=crew))
            await server.reached(40)
            workers[0].send_signal(signal.SIGKILL)
            summary = await asyncio.wait_for(running, PATIENCE_S)
        assert await ended(*workers) == [-signal.SIGKILL, 0]
    (stage,) = summary.stages
    assert summary.ended == "complete" and not summary.valid
    assert stage.metrics.failures["LOST"] >= 1 and stage.metrics.requests == 120
    assert any("pod b-1 at 127.0.0.1: its connection ended" in note for note in summary.notes), summary.notes
    assert {r.worker for r in records_of(tmp_path / "run") if r.outcome == Outcome.WHOLE and r.due_s > 2} == {1}


async def test_a_worker_that_stands_still_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.bench.cluster.rendezvous.Called.silent_s", 1.5)
    with hostile(lambda _: (GOOD, False)) as server:
        async with rendezvous(1) as (crew, port):
            worker = await started(port, 0)
            running = asyncio.ensure_future(run(benchmark(server.url, steady(20, 600), workers=1), crew=crew))
            await server.reached(10)
            worker.send_signal(signal.SIGSTOP)
            summary = await asyncio.wait_for(running, PATIENCE_S)
            worker.send_signal(signal.SIGCONT)
            worker.kill()
        await ended(worker)
    assert (summary.ended, summary.why_ended) == ("failed", "every worker was lost")
    assert any("said nothing for" in note for note in summary.notes)


async def test_who_does_not_come_is_named() -> None:
    async with rendezvous(3, within_s=1.5) as (crew, port):
        worker = await started(port, 1)
        with pytest.raises(RunFailed) as failed:
            await run(benchmark("http://127.0.0.1:1", steady(1, 1), workers=3), crew=crew)
    await ended(worker)
    assert "pod b-1 did not call within 1.5 s" in str(failed.value)
    assert "pod b-3 did not call" in str(failed.value) and crew.called <= 1


async def test_waiting_for_workers_ends_when_asked_to() -> None:
    stop = Stop()
    async with rendezvous(1, stop=stop) as (crew, port):
        running = asyncio.ensure_future(
            run(benchmark("http://127.0.0.1:1", steady(1, 1), workers=1), None, None, stop, crew=crew)
        )
        await ask_to_stop("127.0.0.1", port, TOKEN)
        with pytest.raises(RunFailed, match=r"ended by spec\.stop before it began"):
            await asyncio.wait_for(running, PATIENCE_S)


async def test_strangers_are_dropped_and_told_of() -> None:
    async with rendezvous(1) as (crew, port):
        with pytest.raises(ConnectionError):
            await call_with(port, b"another token", WORKER)
        with pytest.raises(ConnectionError):
            await call_with(port, b"another token", STOP)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 4096)
        assert (await reader.read(8)) == MAGIC
        with contextlib.suppress(ConnectionError):
            assert await reader.read() is not None
        writer.close()
        nobody = await call_with(port, TOKEN, WORKER, number=7)  # the proof is right, and there is no such worker
        assert await nobody.read() == b""
        await call_with(port, TOKEN, WORKER)
        again = await call_with(port, TOKEN, WORKER)
        assert await again.read() == b""
        (note,) = crew.notes()
    assert "does not know the token" in note and "worker 0 has called before" in note and "no worker 7" in note


async def call_with(port: int, token: bytes, role: bytes, number: int = 0) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await greet(reader, writer, token, role, number)
    return reader


async def test_a_worker_takes_no_orders_from_who_does_not_know_the_token() -> None:
    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(MAGIC + b"n" * 32)
        await reader.readexactly(69)
        writer.write(b"p" * 32)

    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Stranger, match="does not know the token"):
        await call_with(port, TOKEN, WORKER)
    server.close()


async def test_a_coordinator_that_never_comes_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("FAIRLEAD_BENCH_TOKEN", "t")
    monkeypatch.setenv("FAIRLEAD_BENCH_START_S", "0.3")
    with pytest.raises(NobodyThere, match=r"was not reached within 0\.3 s: .*Connect call failed"):
        await call("127.0.0.1", port)


async def test_spec_stop_ends_a_run_with_its_report() -> None:
    looks: list[Progress] = []
    stop = Stop()
    with hostile(lambda _: (GOOD, False)) as server:
        async with rendezvous(1, stop=stop) as (crew, port):
            worker = await started(port, 0)
            config = benchmark(server.url, steady(20, 600), workers=1)
            running = asyncio.ensure_future(run(config, None, looks.append, stop, crew=crew))
            await server.reached(10)
            await ask_to_stop("127.0.0.1", port, TOKEN)
            summary = await asyncio.wait_for(running, PATIENCE_S)
        assert await ended(worker) == [0]
    assert (summary.ended, summary.why_ended) == ("interrupted", "spec.stop")
    assert summary.stages[0].metrics.whole >= 5 and any(look.workers == 1 for look in looks)
