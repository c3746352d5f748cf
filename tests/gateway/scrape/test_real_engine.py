"""The scraper and a simulated engine that is a process of its own: killed, and started again at the same port."""

import asyncio
import sys

from fairlead.gateway.endpoints import Endpoint, Pool, Registry
from fairlead.gateway.load import LoadTable
from fairlead.gateway.scrape import Scraper, pace


async def _engine(port):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.simulator.server", "--port", str(port), "--model", "tiny",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    return process, int(line.split()[-1])


async def _until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another process changes
            await asyncio.sleep(0.01)


async def test_an_engine_that_is_killed_and_comes_back_is_a_new_one(monkeypatch):
    monkeypatch.setattr(pace, "IDLE_INTERVAL_S", 0.3)
    process, port = await _engine(0)
    address = f"127.0.0.1:{port}"
    registry, loads = Registry(), LoadTable()
    scraper = Scraper(registry, loads)
    restarted: list[str] = []
    scraper.on_restarted.append(restarted.append)
    registry.set_pool(Pool("ns/p", ("tiny",), (Endpoint(address),), "simulated"))
    task = asyncio.create_task(scraper.run())
    try:
        await _until(lambda: loads.of(address).candidate.waiting == 0)
        assert loads.of(address).candidate.kv_capacity_tokens
        process.kill()
        await process.wait()
        await _until(lambda: not loads.of(address).reachable)
        assert restarted == []
        await asyncio.sleep(1.0)  # process start times are told from half a second apart
        process, _ = await _engine(port)
        await _until(lambda: restarted == [address])
        assert loads.of(address).reachable
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        process.kill()
        await process.wait()
