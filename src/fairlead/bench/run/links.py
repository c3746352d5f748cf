"""Where workers come from: a link to each, whether it is a process of this machine or one that has called in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import Protocol

from fairlead.bench.worker.priority import NICENESS, NORMAL, VARIABLE

STDERR_KEPT_BYTES = 4096
STOPPED_AFTER_S = 60.0
"""A process of this machine that has said nothing for so long will not come back: it was stopped."""
END_WITHIN_S = 2.0


class WorkerLost(RuntimeError):
    """A worker did not come up, or has ended that was not told to."""


class Link(Protocol):
    """One worker at the other end of two streams. `silent_s`: after so long without a word it counts as lost.
    `shares_clock`: whether its monotonic clock is ours. `pid` is -1 where it is a process elsewhere."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    silent_s: float
    shares_clock: bool
    pid: int

    async def ending(self, why: str) -> str:
        """Make sure that it ends, and say how it did, in words; `why`: what is known already, or nothing."""

    async def close(self) -> None:
        """It is gone afterwards, or no longer ours."""


class Crew(Protocol):
    """Gives connected workers, by number from 0."""

    async def link(self, number: int) -> Link:
        """Raises WorkerLost when there is none."""

    def notes(self) -> list[str]:
        """What is to be said of how they came, at the end of a run."""


class LocalCrew:
    """Processes of this machine, started as they are asked for."""

    async def link(self, number: int) -> Link:
        return await LocalProcess.started()

    def notes(self) -> list[str]:
        return []


class LocalProcess:
    """A process at the other end of a pair of sockets."""

    silent_s = STOPPED_AFTER_S
    shares_clock = True

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer, self.pid = reader, writer, process.pid
        self._process = process
        self._stderr = b""
        self._reading = asyncio.ensure_future(self._read_stderr())

    @classmethod
    async def started(cls) -> LocalProcess:
        """A new one."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fairlead.bench.worker", str(theirs.fileno()), pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        if os.environ.get(VARIABLE) != NORMAL:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)  # its start too; more is up to itself
        return cls(process, *await asyncio.open_connection(sock=ours, limit=2**22))

    async def ending(self, why: str) -> str:
        if why and self._process.returncode is None:
            self._process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), END_WITHIN_S)
        code = self._process.returncode
        said = f" ({_ending(code)})" if code is not None else ""
        if lines := self._stderr.decode(errors="replace").strip().splitlines():
            said += f": {lines[-1]}"
        return why or f"its process ended{said}"

    async def close(self) -> None:
        self.writer.close()
        if self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), END_WITHIN_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._reading.cancel()

    async def _read_stderr(self) -> None:
        stream = self._process.stderr
        while stream is not None and (data := await stream.read(4096)):
            self._stderr = (self._stderr + data)[-STDERR_KEPT_BYTES:]


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
