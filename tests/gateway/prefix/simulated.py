"""The simulated engine as a process that publishes its cache events on local sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from types import TracebackType

from patience import PATIENCE_S


class SimulatedEngine:
    """Started with `async with`; `kill` and `start` make another engine on the same sockets."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        # Short: names of such sockets have at most 107 bytes.
        self.events_endpoint = f"ipc://{folder}/e"
        self.replay_endpoint = f"ipc://{folder}/r"
        self.arguments = arguments
        self.url = ""
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        config = {"endpoint": self.events_endpoint, "replay_endpoint": self.replay_endpoint}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", "tiny",
            "--kv-events-config", json.dumps(config), *self.arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        self.url = f"http://127.0.0.1:{int(line.split()[-1])}"

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    async def __aenter__(self) -> SimulatedEngine:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
