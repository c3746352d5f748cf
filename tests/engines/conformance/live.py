"""Engines of Fairlead's own as running processes, for tests."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import aiohttp

from fairlead.engines import Engine, EngineSpec

START_S = 60.0


def free_port() -> int:
    """A port outside the range from which the kernel gives out ports of its own, to other tests for example."""
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


@contextmanager
def running(engine: Engine, **settings: object) -> Iterator[tuple[str, int]]:
    """URL and process id of an engine of Fairlead's own, started as a service would start it."""
    port = free_port()
    program = (sys.executable, "-m", "fairlead.cli.main", "engine", engine.runtime)
    spec = EngineSpec(**{"model": "m", "command": program, "host": "127.0.0.1", "port": port, **settings})
    with subprocess.Popen(engine.command(spec).argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(wait_until_ready(f"http://127.0.0.1:{port}{engine.readiness.path}", process))
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


async def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(START_S):
        while True:
            assert process.poll() is None, f"the engine ended with {process.returncode} before it was ready"
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
