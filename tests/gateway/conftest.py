"""The real Envoy, the picker and simulated engines, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from fairlead.gateway.envoy import command
from patience import PATIENCE_S


def free_port() -> int:
    """A port outside the range from which the kernel gives out ports of its own, to other tests for example."""
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


@dataclass
class Stack:
    """One gateway. Engines are named by their index."""

    folder: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    engines: list[tuple[asyncio.subprocess.Process, str]] = field(default_factory=list)
    picker: asyncio.subprocess.Process | None = None
    envoy: asyncio.subprocess.Process | None = None
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, engines: int = 1, *arguments: str) -> None:
        await asyncio.gather(*(self.add_engine(*arguments) for _ in range(engines)))
        self.publish()
        await asyncio.gather(self.start_picker(), self.start_envoy())
        await self.until_ready()

    async def add_engine(self, *arguments: str) -> int:
        process = await self._spawn(
            sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", "tiny",
            "--served-model-name", "alias", *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        self.engines.append((process, f"127.0.0.1:{int(line.split()[-1])}"))
        return len(self.engines) - 1

    def publish(self, *extra: dict) -> None:
        pool = {"key": "default/tiny", "models": ["tiny", "alias"], "runtime": "simulated"}
        pool["endpoints"] = [address for _, address in self.engines]
        fresh = self.folder / "endpoints.new"
        fresh.write_text(json.dumps({"pools": [pool, *extra]}))
        fresh.replace(self.folder / "endpoints.json")

    async def start_picker(self) -> None:
        self.picker = await self._spawn(
            sys.executable, "-m", "fairlead.gateway", "--endpoints", str(self.folder / "endpoints.json"),
            "--data", str(self.folder), "--metrics-port", str(self.metrics_port),
        )  # fmt: skip

    async def start_envoy(self) -> None:
        self.envoy = await self._spawn(*command(self.folder, self.port, concurrency=1))

    async def until_ready(self, timeout_s: float = PATIENCE_S) -> float:
        """Seconds until /v1/models answers 200."""
        began = time.monotonic()
        async with aiohttp.ClientSession() as session:
            while time.monotonic() - began < timeout_s:
                try:
                    async with session.get(self.url + "/v1/models") as response:
                        if response.status == 200:
                            return time.monotonic() - began
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)
        raise TimeoutError("the gateway did not become ready")

    async def kill(self, process: asyncio.subprocess.Process | None, number: int = signal.SIGKILL) -> None:
        assert process is not None
        if process.returncode is None:
            os.kill(process.pid, number)
        await asyncio.wait_for(process.wait(), PATIENCE_S)

    async def metric(self, name: str) -> float:
        """Sum of a metric of the gateway over its labels."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    async def until(self, name: str, value: float) -> None:
        """Wait until a metric's sum is `value`."""
        deadline = time.monotonic() + PATIENCE_S
        while (got := await self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {got}, expected {value}"
            await asyncio.sleep(0.03)

    async def until_in_flight(self, number: int) -> None:
        """Wait until so many requests are at the picker or at engines."""
        await self.until("fairlead_gateway_in_flight_requests", number)

    async def _spawn(self, *argv: str, **options) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*argv, **options)
        self.processes.append(process)
        return process

    async def stop(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(asyncio.wait_for(p.wait(), PATIENCE_S) for p in self.processes))


@pytest.fixture
async def stack(tmp_path) -> AsyncIterator[Stack]:
    one = Stack(tmp_path)
    yield one
    await one.stop()
