"""The workers of a run as processes of this machine."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

from fairlead.bench.wire import LENGTH_BYTES, Down, Finished, Ready, Settings, Up, frame, up_decoder


class WorkerLost(RuntimeError):
    """A worker has ended that was not told to."""


class Member:
    """One worker's process, and the socket to it."""

    def __init__(self, number: int, told: Callable[[int, Up], None]) -> None:
        self.number = number
        self.finished = asyncio.Event()
        self.lost = ""
        self._told = told
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self, settings: Settings) -> None:
        """Raises WorkerLost when it does not come up, with what it said."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fairlead.bench.worker", str(theirs.fileno()), pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**22)
        self._reading = asyncio.ensure_future(self._read(reader))
        self.send(settings)
        problem = await self._ready
        if problem:
            raise WorkerLost(f"worker {self.number}: {problem}")

    def send(self, message: Down) -> None:
        """What is sent to a worker that is lost goes nowhere."""
        if self._writer is not None and not self.finished.is_set():
            self._writer.write(frame(message))

    async def drain(self) -> None:
        """Wait until the worker has taken most of what was sent."""
        if self._writer is not None and not self.finished.is_set():
            try:
                await self._writer.drain()
            except ConnectionError:
                return

    async def stop(self) -> None:
        """The process is gone afterwards."""
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), 2.0)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                message = up_decoder.decode(await reader.readexactly(length))
                if isinstance(message, Ready):
                    self._ready.set_result(message.problem)
                    continue
                self._told(self.number, message)
                if isinstance(message, Finished):
                    self.finished.set()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost = "its process ended"
            if not self._ready.done():
                self._ready.set_result("its process ended before it was ready")
            self.finished.set()
