"""The watch over real engine processes: streams that end, engines that hang, are stopped, die, start anew or lie; how
many looks they get, and that silent ones hold up nobody."""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import replace

import aiohttp
import pytest

from fairlead.engines import engine_for
from fairlead.kube.resources import ObjectKey
from fairlead.serving.drain import EngineWatch, Target
from fairlead.serving.drain.pace import Pace, Rate
from patience import PATIENCE_S

SIMULATED = engine_for("simulated")
KEY = ObjectKey("default", "tiny")
BRISK = Pace(Rate(0.05, 500), Rate(0.1, 200), Rate(0.1, 100), Rate(0.1, 100))


class Bench:
    """A watch that runs, the keys that it called with, and engines."""

    def __init__(self, pace=BRISK):
        self.told = []
        self.watch = EngineWatch(self.told.append, pace=pace)
        self.processes = []

    async def engine(self, *arguments):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", "tiny", *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        return process, Target("127.0.0.1", int(line.split()[-1]), SIMULATED)

    def view(self, uid="a"):
        return self.watch.views(KEY).get(uid)

    async def until(self, condition, timeout_s=15):
        await eventually(lambda: (view := self.view()) is not None and condition(view), timeout_s)
        return self.view()

    async def until_told(self, timeout_s=15):
        await eventually(lambda: self.told, timeout_s)


async def eventually(condition, timeout_s=15):
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


@pytest.fixture
async def bench():
    one = Bench()
    running = asyncio.create_task(one.watch.run())
    try:
        yield one
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for process in one.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            await asyncio.wait_for(process.wait(), PATIENCE_S)


async def complete(target, tokens):
    body = {"model": "tiny", "prompt": "hello", "max_tokens": tokens, "stream": True, "ignore_eos": True}
    url = f"http://127.0.0.1:{target.port}/v1/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        return await answer.read()


async def test_a_replica_that_leaves_is_told_of_once_its_streams_have_ended(bench):
    _, target = await bench.engine("--itl-ms", "40")
    asking = asyncio.create_task(complete(target, 25))
    bench.watch.follow(KEY, {"a": target})
    await bench.until(lambda v: v.in_flight == 1)
    bench.watch.follow(KEY, {"a": replace(target, settled_s=0.0)})
    await bench.until_told()
    assert asking.done() or b"[DONE]" in await asyncio.wait_for(asking, 1)
    view = bench.view()
    assert view.in_flight == 0 and view.idle_s is not None and bench.told[0] == KEY


async def test_an_engine_that_makes_no_token_hangs(bench):
    _, target = await bench.engine("--itl-ms", "600000")
    asking = asyncio.create_task(complete(target, 5))
    bench.watch.follow(KEY, {"a": replace(target, hang_s=0.5)})
    view = await bench.until(lambda v: v.stalled_s is not None)
    await bench.until_told()
    assert view.in_flight == 1
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_an_engine_that_gets_on_again_is_told_of_too(bench):
    tokens = [5]
    server, target = await serve(lambda: b"vllm:num_requests_running 1\nvllm:generation_tokens_total %d\n" % tokens[0])
    bench.watch.follow(KEY, {"a": replace(target, hang_s=0.3)})
    await bench.until_told()
    bench.told.clear()
    tokens[0] = 6
    await bench.until_told()
    assert bench.view().stalled_s is None
    server.close()


async def test_a_slow_engine_that_gets_on_does_not_hang(bench):
    _, target = await bench.engine("--itl-ms", "300")
    asking = asyncio.create_task(complete(target, 8))
    bench.watch.follow(KEY, {"a": replace(target, hang_s=1.0)})
    await asyncio.wait_for(asking, PATIENCE_S)
    await bench.until(lambda v: v.in_flight == 0)
    assert not bench.told


async def test_a_stopped_process_takes_connections_and_never_answers(bench):
    process, target = await bench.engine()
    bench.watch.follow(KEY, {"a": replace(target, hang_s=0.5)})
    await bench.until(lambda v: v.seen_s is not None)
    os.kill(process.pid, signal.SIGSTOP)
    view = await bench.until(lambda v: v.unreachable_s is not None)
    assert view.accepts and "no whole page" in view.problem
    await bench.until_told()
    os.kill(process.pid, signal.SIGCONT)
    await bench.until(lambda v: v.unreachable_s is None)


async def test_a_dead_process_is_out_of_reach_and_its_successor_starts_anew(bench):
    process, target = await bench.engine()
    bench.watch.follow(KEY, {"a": target})
    await complete(target, 5)
    await bench.until(lambda v: v.tokens_total)
    process.kill()
    # A page that the kill cuts short is out of reach too, and does not say yet that nobody accepts.
    view = await bench.until(lambda v: v.unreachable_s is not None and not v.accepts)
    assert view.tokens_total
    _, successor = await bench.engine()
    bench.watch.follow(KEY, {"a": successor})
    view = await bench.until(lambda v: v.seen_s is not None and v.unreachable_s is None)
    assert not view.tokens_total


async def serve(page, delay_s=0.0):
    """A server of `page()`; returns it and its target."""

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay_s)
            body = page()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, Target("127.0.0.1", server.sockets[0].getsockname()[1], SIMULATED)


async def test_an_engine_that_says_idle_and_makes_tokens_is_not_believed(bench):
    made = iter(range(10**6))
    server, target = await serve(lambda: b"vllm:num_requests_running 0\nvllm:generation_tokens_total %d\n" % next(made))
    bench.watch.follow(KEY, {"a": replace(target, settled_s=0.0)})
    await bench.until(lambda v: v.tokens_total and v.tokens_total > 20)
    assert not bench.told
    server.close()


@pytest.mark.parametrize("page", [b"", b"\xff" * 1000, b"vllm:num_requests_running -1\n", b"<html>busy</html>"])
async def test_nonsense_is_an_answer_that_tells_nothing(bench, page):
    server, target = await serve(lambda: page)
    bench.watch.follow(KEY, {"a": replace(target, settled_s=0.0)})
    view = await bench.until(lambda v: v.seen_s is not None)
    assert (view.in_flight, view.idle_s, view.unreachable_s) == (None, None, None)
    server.close()


async def test_silent_engines_hold_up_nobody_else(bench):
    slow = [await serve(lambda: b"", delay_s=30) for _ in range(3)]
    server, target = await serve(lambda: b"vllm:num_requests_running 0\nvllm:generation_tokens_total 1\n")
    targets = {f"s{i}-{n}": t for i, (_, t) in enumerate(slow) for n in range(60)}
    bench.watch.follow(ObjectKey("default", "slow"), targets)
    views = bench.watch.views
    await eventually(
        lambda: sum(v.unreachable_s is not None for v in views(ObjectKey("default", "slow")).values()) > 100
    )
    bench.watch.follow(KEY, {"a": replace(target, settled_s=0.0)})
    await bench.until_told(3)
    for each, _ in [*slow, (server, None)]:
        each.close()


async def test_who_is_not_followed_any_more_is_not_looked_at():
    bench = Bench()
    server, target = await serve(lambda: b"vllm:num_requests_running 0\n")
    running = asyncio.create_task(bench.watch.run())
    bench.watch.follow(KEY, {"a": target, "b": target})
    await bench.until(lambda v: v.seen_s is not None)
    bench.watch.forget(KEY)
    await asyncio.sleep(0.3)
    looks = bench.watch.looks
    await asyncio.sleep(0.5)
    assert bench.watch.looks == looks and not bench.watch.views(KEY)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    server.close()


async def test_many_calm_engines_share_their_looks():
    bench = Bench(Pace(calm=Rate(0.1, 50)))
    server, target = await serve(lambda: b"vllm:num_requests_running 0\n")
    running = asyncio.create_task(bench.watch.run())
    bench.watch.follow(KEY, {f"u{i}": target for i in range(500)})
    await asyncio.sleep(2.0)
    # Two seconds' worth, what the bucket held at first, and some room for a loaded machine.
    assert 30 <= bench.watch.looks <= 130
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    server.close()
