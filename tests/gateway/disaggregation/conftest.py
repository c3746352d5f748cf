"""Simulated engines in the roles of a hand-off, each a process of its own, and legs between them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from fairlead.gateway.disaggregation import LegSettings, PrefillLegs
from fairlead.gateway.latency.predictor import LatencyPredictor
from fairlead.gateway.load import LoadTable
from fairlead.gateway.picker import EndpointPicker
from fairlead.gateway.prefix import PrefixTree
from patience import PATIENCE_S


@dataclass
class Engine:
    process: asyncio.subprocess.Process
    address: str

    async def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, number)
        if number == signal.SIGKILL:
            await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    async def metric(self, name: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.address}/metrics") as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((name + "{", name + " ")))

    async def until(self, name: str, met: Callable[[float], bool]) -> None:
        for _ in range(300):
            if met(await self.metric(name)):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{name} is {await self.metric(name)}")

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{self.address}{path}", data=body, headers=headers) as response,
        ):
            return response.status, await response.read()


StartEngine = Callable[..., Coroutine[Any, Any, Engine]]


@pytest.fixture
async def engine() -> AsyncIterator[StartEngine]:
    """Starts one with these arguments."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> Engine:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", "tiny", *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        return Engine(process, f"127.0.0.1:{int(line.split()[-1])}")

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
    await asyncio.gather(*(asyncio.wait_for(p.wait(), PATIENCE_S) for p in processes))


@pytest.fixture
def picker() -> EndpointPicker:
    return EndpointPicker(LoadTable(), PrefixTree(), LatencyPredictor())


@pytest.fixture
async def legs(picker: EndpointPicker) -> AsyncIterator[PrefillLegs]:
    legs = PrefillLegs(picker, settings=LegSettings(answer_s=20.0, watch_s=0.05))
    yield legs
    await legs.close()
