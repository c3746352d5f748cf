"""The workers of a run as processes of this machine, and what each of them has been handed and not told the end of."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import sys
from collections import deque
from collections.abc import Callable

import msgspec

from fairlead.bench.record import Outcome, Record
from fairlead.bench.session import Job
from fairlead.bench.wire import (
    LENGTH_BYTES,
    Down,
    Finished,
    Jobs,
    Pulse,
    Ready,
    Records,
    Settings,
    Up,
    frame,
    up_decoder,
)

STDERR_KEPT_BYTES = 4096
READY_WITHIN_S = 60.0
CLOSED_AHEAD_S = 2.0
NICE = -5
"""Workers go before what else runs, where the kernel lets us: a late request is a wrong figure."""


class WorkerLost(RuntimeError):
    """A worker did not come up, or has ended that was not told to."""


class Handed(msgspec.Struct, gc=False):
    """What is remembered of a job that a worker has: enough for a record, should the worker be lost."""

    stage: int
    due_s: float
    target: int
    adapter: int
    prompt_tokens: int
    output_tokens: int
    last_turn: int
    turn: int = 0


class Member:
    """One worker's process, and the socket to it. `told` hears what it says, `on_lost` that it is gone."""

    def __init__(self, number: int, told: Callable[[Member, Up], None], on_lost: Callable[[Member], None]) -> None:
        self.number = number
        self.finished = asyncio.Event()
        self.lost = ""
        self.pulse: Pulse | None = None
        self.ended: Finished | None = None
        self.handed: dict[int, Handed] = {}
        self.ahead_bytes = 0
        self._jobs = 0  # handed over, in all
        self._begun_per_s = 0.0
        self._ahead: deque[tuple[Job, int]] = deque()  # in the order in which they are begun
        self._told, self._on_lost = told, on_lost
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stderr = b""

    async def start(self, settings: Settings) -> None:
        """Raises WorkerLost when it does not come up, with what it said."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fairlead.bench.worker", str(theirs.fileno()), pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**22)
        self._tasks = [asyncio.ensure_future(self._read(reader)), asyncio.ensure_future(self._read_stderr())]
        self.send(settings)
        try:
            problem = await asyncio.wait_for(asyncio.shield(self._ready), READY_WITHIN_S)
        except TimeoutError:
            problem = f"it was not ready within {READY_WITHIN_S:g} s"
        if problem:
            raise WorkerLost(f"worker {self.number}: {problem}")

    @property
    def alive(self) -> bool:
        return not self.finished.is_set()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else -1

    def send(self, message: Down) -> None:
        """What is sent to a worker that is lost goes nowhere."""
        if self._writer is not None and self.alive:
            self._writer.write(frame(message))

    async def drain(self) -> None:
        """Wait until the worker has taken most of what was sent."""
        if self._writer is not None and self.alive:
            try:
                await self._writer.drain()
            except ConnectionError:
                return

    def hand(self, jobs: list[Job], size_bytes: int) -> None:
        """Jobs in order of their times, `size_bytes` of bodies together."""
        each = size_bytes // len(jobs)
        for job in jobs:
            turn = job.turns[0]
            self.handed[job.number] = Handed(
                job.stage, job.due_s, job.target, job.adapter, turn.prompt_tokens, turn.output_tokens,
                len(job.turns) - 1,
            )  # fmt: skip
            self._ahead.append((job, each))
        self.ahead_bytes += each * len(jobs)
        self._jobs += len(jobs)
        self.send(Jobs(jobs))

    def begun(self, now_s: float) -> None:
        """Forget the bodies of jobs that have begun by now: those whose time has come, or that a user has taken."""
        ahead = self._ahead
        queued = self._queued()
        while ahead:
            job, size_bytes = ahead[0]
            # In a closed loop a worker takes jobs in order: all but the last that it still says it has.
            if (job.due_s > now_s) if job.due_s >= 0 else (len(ahead) <= queued):
                return
            ahead.popleft()
            self.ahead_bytes -= size_bytes

    def wanted(self, users: int) -> int:
        """How many jobs more a closed loop's users can take within seconds, by what they have taken so far."""
        return max(2 * users, math.ceil(self._begun_per_s * CLOSED_AHEAD_S)) - self._queued()

    def _queued(self) -> int:
        """Jobs that it had not begun when it last said how it is, with those that were on the way to it."""
        pulse = self.pulse
        return self._jobs if pulse is None else self._jobs - pulse.received + pulse.queued

    def waiting(self, now_s: float) -> list[Job]:
        """The jobs that have not begun, which are then not this worker's any more."""
        self.begun(now_s)
        jobs = [job for job, _ in self._ahead]
        self._ahead.clear()
        self.ahead_bytes = 0
        for job in jobs:
            self.handed.pop(job.number, None)
        return jobs

    def drop(self, stage: int, now_s: float) -> None:
        """Forget the jobs of a stage that have not begun."""
        self.begun(now_s)
        for job, size_bytes in [each for each in self._ahead if each[0].stage == stage]:
            self.handed.pop(job.number, None)
            self.ahead_bytes -= size_bytes
        self._ahead = deque(each for each in self._ahead if each[0].stage != stage)

    def unended(self, outcome: Outcome, detail: str, now_s: float, stage: int | None = None) -> list[Record]:
        """Records of what it had begun, of one stage or of all, and will not tell the end of; forgotten afterwards."""
        mine = {n: had for n, had in self.handed.items() if stage is None or had.stage == stage}
        for number in mine:
            del self.handed[number]
        return [
            _unended(number, had, self.number, outcome, detail, now_s)
            for number, had in mine.items()
            if (had.due_s >= 0 or outcome is Outcome.LOST) and had.due_s <= now_s and not _is_between(had, outcome)
        ]

    async def stop(self) -> None:
        """The process is gone afterwards."""
        self.finished.set()
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), 2.0)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        for task in self._tasks:
            task.cancel()

    def _take(self, message: Up) -> None:
        if isinstance(message, Records):
            for record in message.records:
                had = self.handed.get(record.number)
                if had is None:
                    continue
                if record.outcome != Outcome.WHOLE or record.turn >= had.last_turn:
                    del self.handed[record.number]
                else:
                    had.turn = record.turn + 1
        elif isinstance(message, Pulse):
            before = self.pulse.sent if self.pulse is not None else 0
            self._begun_per_s = (message.sent - before) / max(message.wall_s, 1e-3)
            self.pulse = message
            self.begun(message.at_s)
        elif isinstance(message, Finished):
            self.ended = message
        self._told(self, message)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                message = up_decoder.decode(await reader.readexactly(length))
                if isinstance(message, Ready):
                    if not self._ready.done():
                        self._ready.set_result(message.problem)
                    continue
                self._take(message)
                if isinstance(message, Finished):
                    self.finished.set()
                    return
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError) as error:
            await self._gone(error)

    async def _gone(self, error: Exception) -> None:
        if self.finished.is_set():
            return
        said = ""
        if self._process is not None:
            if isinstance(error, msgspec.MsgspecError):
                self._process.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 2.0)
            code = self._process.returncode
            said = f" ({_ending(code)})" if code is not None else ""
            if lines := self._stderr.decode(errors="replace").strip().splitlines():
                said += f": {lines[-1]}"
        self.lost = f"its process ended{said}"
        self.finished.set()
        if self._ready.done():
            self._on_lost(self)
        else:
            self._ready.set_result(f"{self.lost} before it was ready")

    async def _read_stderr(self) -> None:
        stream = self._process.stderr if self._process is not None else None
        while stream is not None and (data := await stream.read(4096)):
            self._stderr = (self._stderr + data)[-STDERR_KEPT_BYTES:]


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def _is_between(had: Handed, outcome: Outcome) -> bool:
    """Whether a session was told to stop between two of its turns: nothing was under way then."""
    return outcome is not Outcome.LOST and had.turn > 0


def _unended(number: int, had: Handed, worker: int, outcome: Outcome, detail: str, now_s: float) -> Record:
    nan = float("nan")
    return Record(
        number, had.turn, had.stage, had.target, had.adapter, worker, int(outcome), 0,
        had.due_s if had.due_s >= 0 else now_s, nan, nan, nan, nan, nan, now_s, had.prompt_tokens, had.output_tokens, 0,
        -1, -1, -1, False, nan, nan, "", detail, b"", b"",
    )  # fmt: skip
