"""Engines of Fairlead's own as running processes, for tests."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from fairlead.engines import Engine, EngineSpec

START_S = 30.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(engine: Engine, **settings: object) -> Iterator[tuple[str, int]]:
    """URL and process id of an engine of Fairlead's own, started as a service would start it."""
    port = free_port()
    program = (sys.executable, "-m", "fairlead.cli.main", "engine", engine.runtime)
    spec = EngineSpec(**{"model": "m", "command": program, "host": "127.0.0.1", "port": port, **settings})
    with subprocess.Popen(engine.command(spec).argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(wait_until_ready(f"http://127.0.0.1:{port}{engine.readiness.path}"))
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


async def wait_until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(START_S):
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
