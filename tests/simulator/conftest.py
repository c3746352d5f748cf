"""A simulated engine as a process, the way pods run it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from patience import PATIENCE_S


@dataclass
class EngineProcess:
    process: asyncio.subprocess.Process
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            os.kill(self.process.pid, number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


async def start_engine(*arguments: str, model: str = "tiny") -> EngineProcess:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", model, *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
    return EngineProcess(process, int(line.split()[-1]))


Start = Callable[..., Awaitable[EngineProcess]]


@pytest.fixture
async def engine() -> AsyncIterator[Start]:
    started: list[EngineProcess] = []

    async def start(*arguments: str, model: str = "tiny") -> EngineProcess:
        one = await start_engine(*arguments, model=model)
        started.append(one)
        return one

    yield start
    for one in started:
        await one.stop(signal.SIGKILL)
