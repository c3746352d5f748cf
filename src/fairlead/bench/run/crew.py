"""The workers of a run, wherever they are, and what each of them has been handed and not told the end of."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

import msgspec

from fairlead.bench.record import Outcome, Record
from fairlead.bench.run.clocks import WorkerClock
from fairlead.bench.run.links import Crew, Link, LocalCrew, WorkerLost
from fairlead.bench.session import Job
from fairlead.bench.wire import (
    LARGEST_BYTES,
    LENGTH_BYTES,
    Down,
    Finished,
    Jobs,
    Ping,
    Pong,
    Pulse,
    Ready,
    Records,
    Settings,
    Start,
    Up,
    frame,
    up_decoder,
)
from fairlead.clock import SYSTEM

READY_WITHIN_S = 60.0
LOOK_S = 1.0
"""Between two looks at whether a worker still speaks, and at the clock of one elsewhere."""
COMPARISONS, COMPARED_WITHIN_S = 12, 10.0
CLOSED_AHEAD_S = 2.0
JOB_BYTES = 1024
"""Of a job beside its body."""


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
    """One worker of a crew, and the link to it. `told` hears what it says, `on_lost` that it is gone."""

    def __init__(
        self,
        number: int,
        told: Callable[[Member, Up], None],
        on_lost: Callable[[Member], None],
        crew: Crew | None = None,
    ) -> None:
        self.number = number
        self.clock = WorkerClock()
        self.finished = asyncio.Event()
        self.lost = ""
        self.priority = ""
        self.pulse: Pulse | None = None
        self.ended: Finished | None = None
        self.handed: dict[int, Handed] = {}
        self.ahead_bytes = 0
        self._jobs = self._bodies_bytes = 0  # handed over, in all
        self._begun_per_s = 0.0
        self._ahead: deque[tuple[Job, int]] = deque()  # in the order in which they are begun
        self._told, self._on_lost = told, on_lost
        self._crew = crew or LocalCrew()
        self._link: Link | None = None
        self._heard_s = 0.0
        self._is_up = self._is_going = False
        self._ponged = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self, settings: Settings) -> None:
        """Raises WorkerLost when it does not come up, with what it said."""
        self._link = link = await self._crew.link(self.number)
        self._heard_s = SYSTEM.monotonic_s()
        self._tasks = [asyncio.ensure_future(self._read(link)), asyncio.ensure_future(self._watch(link))]
        self.send(settings)
        try:
            problem = await asyncio.wait_for(asyncio.shield(self._ready), READY_WITHIN_S)
        except TimeoutError:
            problem = f"it was not ready within {READY_WITHIN_S:g} s"
        if not problem and not link.shares_clock:
            problem = await self._compare_clocks()
        if problem:
            raise WorkerLost(f"worker {self.number}: {problem}")
        self._is_up = True

    def begin(self, origin_s: float) -> None:
        """Tell the origin of the run, a reading of our monotonic clock, by the worker's own."""
        assert self._link is not None
        self.send(Start(round(origin_s * 1e9) + (0 if self._link.shares_clock else self.clock.begin())))

    def clock_facts(self) -> dict[str, float] | None:
        """Of a worker with a clock of its own, in milliseconds: how sure its origin was, how far it drifted, and by how
        much its times may have been off at most. None where the clock is ours."""
        if self._link is None or self._link.shares_clock or (began := self.clock.began) is None:
            return None
        return {
            "worker": self.number, "error_ms": began.error_ns / 1e6, "drift_ms": self.clock.drift_ns / 1e6,
            "worst_ms": self.clock.worst_ns / 1e6,
        }  # fmt: skip

    @property
    def alive(self) -> bool:
        return not self.finished.is_set()

    @property
    def pid(self) -> int:
        return self._link.pid if self._link is not None else -1

    def send(self, message: Down) -> None:
        """What is sent to a worker that is lost goes nowhere."""
        if self._link is not None and self.alive:
            self._link.writer.write(frame(message))

    async def drain(self) -> None:
        """Wait until the worker has taken most of what was sent."""
        if self._link is not None and self.alive:
            try:
                await self._link.writer.drain()
            except OSError:
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
        self._bodies_bytes += size_bytes
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

    def wanted(self, users: int, first: int = 0) -> int:
        """How many jobs more a closed loop's users can take within seconds, by what they have taken so far; `first` is
        what they are given as long as that is not known."""
        most = max(2 * users, math.ceil(self._begun_per_s * CLOSED_AHEAD_S))
        if self.pulse is None or self.pulse.sent == 0:
            most = max(most, first)
        return most - self._queued()

    def _queued(self) -> int:
        """Jobs that it had not begun when it last said how it is, with those that were on the way to it."""
        pulse = self.pulse
        return self._jobs if pulse is None else self._jobs - pulse.received + pulse.queued

    def behind(self) -> int:
        """Jobs whose time has come and that it had not begun when it last said how it is."""
        return max(0, self._queued() - len(self._ahead))

    @property
    def behind_bytes(self) -> int:
        """What they take, about, in its memory."""
        return self.behind() * (JOB_BYTES + self._bodies_bytes // max(1, self._jobs))

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

    def between_turns(self, stage: int) -> int:
        """Sessions of a stage that have begun and have turns left; once nothing is under way, those cut short."""
        return sum(had.stage == stage and had.turn > 0 for had in self.handed.values())

    async def stop(self) -> None:
        """The worker is gone afterwards."""
        self.finished.set()
        for task in self._tasks:
            task.cancel()
        if self._link is not None:
            await self._link.close()

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

    async def _read(self, link: Link) -> None:
        reader = link.reader
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                if length > LARGEST_BYTES:
                    raise msgspec.DecodeError(f"a message of {length:,} bytes, longer than {LARGEST_BYTES:,}")
                message = up_decoder.decode(await reader.readexactly(length))
                self._heard_s = SYSTEM.monotonic_s()
                if isinstance(message, Ready):
                    self.priority = message.priority
                    if not self._ready.done():
                        self._ready.set_result(message.problem)
                    continue
                if isinstance(message, Pong):
                    self.clock.add(message.sent_ns, message.reading_ns, round(SYSTEM.monotonic_s() * 1e9))
                    self._ponged.set()
                    continue
                self._take(message)
                if isinstance(message, Finished):
                    self.finished.set()
                    return
        except msgspec.MsgspecError as error:
            await self._gone(f"what it said made no sense: {error}")
        except (asyncio.IncompleteReadError, OSError):
            await self._gone("")

    async def _gone(self, why: str) -> None:
        """`why`: what is known of it; nothing: the link has ended."""
        if self.finished.is_set() or self._is_going or self._link is None:
            return
        self._is_going = True
        self.lost = await self._link.ending(why)
        self.finished.set()
        if self._is_up:
            self._on_lost(self)
        elif not self._ready.done():
            self._ready.set_result(f"{self.lost}, before it was ready")
        self._ponged.set()

    async def _watch(self, link: Link) -> None:
        """Notice one that says nothing any more, and keep an eye on its clock."""
        looked_s = SYSTEM.monotonic_s()
        while self.alive:
            await asyncio.sleep(LOOK_S)
            now_s = SYSTEM.monotonic_s()
            if now_s - looked_s > 2 * LOOK_S:
                self._heard_s = now_s  # it was us who stood still
            looked_s = now_s
            if now_s - self._heard_s > link.silent_s:
                await self._gone(f"it said nothing for {now_s - self._heard_s:.0f} s")
                return
            if not link.shares_clock and self._ready.done():
                self.send(Ping(round(now_s * 1e9)))

    async def _compare_clocks(self) -> str:
        """Several exchanges one after the other. Returns what was wrong."""
        try:
            async with asyncio.timeout(COMPARED_WITHIN_S):
                for _ in range(COMPARISONS):
                    if not self.alive:
                        break
                    self._ponged.clear()
                    self.send(Ping(round(SYSTEM.monotonic_s() * 1e9)))
                    await self._ponged.wait()
        except TimeoutError:
            return f"its clock could not be compared within {COMPARED_WITHIN_S:g} s"
        return self.lost


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
