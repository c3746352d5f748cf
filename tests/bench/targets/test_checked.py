"""Targets are looked at before a run: all of them, with the number of the one that is wrong."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import unused_port

from fairlead.bench.config import Benchmark, OpenLoop, OpenStage, Target
from fairlead.bench.run import RunFailed, Stop
from fairlead.bench.run.checking import checked
from patience import PATIENCE_S

LOAD = OpenLoop(stages=(OpenStage(rate_per_s=1, seconds=1),))


async def listening(handle) -> asyncio.Server:
    return await asyncio.start_server(handle, "127.0.0.1", 0)


async def test_the_target_that_is_wrong_is_named():
    nobody = Target(url=f"http://127.0.0.1:{unused_port()}", model="m")
    with pytest.raises(RunFailed, match=r"targets\.1\.url is .*Connection refused"):
        await checked(Benchmark(targets=(nobody, nobody), load=LOAD), Stop())


async def test_a_stop_ends_it_at_once():
    heard = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()
        writer.close()

    stop = Stop()
    async with await listening(silent) as server, asyncio.timeout(PATIENCE_S):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        looking = asyncio.ensure_future(checked(Benchmark(targets=(Target(url=url, model="m"),), load=LOAD), stop))
        await heard.wait()
        stop.ask("Ctrl-C")
        with pytest.raises(RunFailed, match="ended by Ctrl-C before it began"):
            await looking
