"""Handing jobs over, some seconds before they are due: enough that a busy coordinator makes nobody late, and bounded in
bytes, so that long prompts do not pile up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence

from fairlead.bench.config.load import ClosedLoop
from fairlead.bench.load.stages import StagePlan
from fairlead.bench.run.crew import Member
from fairlead.bench.run.preparation import Preparation, size_bytes
from fairlead.bench.session import Job
from fairlead.bench.wire import EndStage, Users
from fairlead.clock import SYSTEM

AHEAD_S = 5.0
AHEAD_BYTES = 16 * 2**20
"""What a worker is given ahead of time at most: this long, and about this many bytes of bodies."""
AT_LEAST_S = 0.5
"""What is due within this time is handed over however long it is."""
BATCH_JOBS = 32
BATCH_BYTES = 128 * 1024
"""A message is read by the worker in one piece, between requests: it must be short."""
MOST_CHAINS = 65_536
"""Sessions of a trace of which it is remembered who has them: the last ones."""
FIRST_JOBS, FIRST_JOBS_EACH = 256, 8
"""Of a closed loop at its beginning: enough until a worker has said how fast its users take them."""
SLICE_S = 0.005
"""After so long at preparing, the records that have come are read."""


class Feed:
    """Hands the jobs of one stage after the other to the workers that are there, in turn."""

    def __init__(self, preparation: Preparation, members: list[Member], now: Callable[[], float]) -> None:
        self.intended: dict[int, int] = {}  # stage -> sessions handed over
        self.late = 0  # jobs that were handed over after they were due
        self._stopping = asyncio.Event()
        self._preparation, self._members, self._now = preparation, members, now
        self._prepared: deque[Job] = deque()
        self._turn = itertools.count()
        self._chains: OrderedDict[int, Member] = OrderedDict()  # chain -> who has its turns

    @property
    def adapters(self) -> list[str]:
        """The names of those that have been asked for, by their numbers."""
        return self._preparation.adapters

    def stop(self) -> None:
        """Nothing more is handed over."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    async def rest(self, seconds: float) -> None:
        """So long, or until `stop`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def prepare(self, jobs: Iterator[Job], seconds: float) -> None:
        """Before the start: as many of the first jobs as there is time and room for."""
        size, until_s = 0, SYSTEM.monotonic_s() + seconds
        for job in jobs:
            self._prepared.append(job)
            size += size_bytes(job)
            if job.due_s > AHEAD_S or size > AHEAD_BYTES or SYSTEM.monotonic_s() > until_s:
                return
            if len(self._prepared) % 64 == 0:
                await asyncio.sleep(0)

    def jobs(self, plan: StagePlan, due_times: Iterator[float]) -> Iterator[Job]:
        """Until times or content end."""
        for due_s in due_times:
            session = self._preparation.take()
            if session is None:
                return
            yield self._preparation.job(session, plan.index, due_s)

    def first_jobs(self, users: int) -> int:
        """What so many users are given before they begin. What a stage leaves over is not asked any more, so of content
        that ends it is little."""
        return max(FIRST_JOBS, FIRST_JOBS_EACH * users) if self._preparation.endless else 2 * users

    def users_jobs(self, plan: StagePlan) -> Iterator[Job]:
        """Of a closed stage, until content ends."""
        while (session := self._preparation.take()) is not None:
            yield self._preparation.job(session, plan.index, -1.0)

    async def open(self, plan: StagePlan, jobs: Iterator[Job]) -> None:
        """Returns when the last job of the stage has been handed over, or after `stop`."""
        batches = Batches()
        sliced_s = SYSTEM.monotonic_s()
        for job in itertools.chain(self._prepared, jobs):
            while not self.stopped and (wait_s := self._early_s(job)) > 0:
                batches.flush()
                await asyncio.sleep(min(0.1, wait_s))
                sliced_s = SYSTEM.monotonic_s()
            member = self._member_for(job)
            if self.stopped or member is None:
                break
            self.late += job.due_s < self._now()
            self.intended[plan.index] = self.intended.get(plan.index, 0) + 1
            batches.add(member, job)
            if SYSTEM.monotonic_s() - sliced_s > SLICE_S:
                batches.flush()
                await asyncio.sleep(0)
                sliced_s = SYSTEM.monotonic_s()
        self._prepared.clear()
        batches.flush()

    async def closed(self, plan: StagePlan, load: ClosedLoop, ramp_s: float, seed: int) -> None:
        """Returns when the stage's time is over, or the last of its requests has ended, or after `stop`."""
        live = self._live()
        for at, users in enumerate(split(round(plan.intended), len(live))):
            if users:
                live[at].send(
                    Users(
                        plan.index, users, plan.begin_s, plan.end_s if plan.end_s is not None else math.inf, ramp_s,
                        load.think_s, load.think == "exponential", seed + at, load.backoff_s, load.retry_after,
                    )
                )  # fmt: skip
        left = plan.requests
        while not self.stopped and (plan.end_s is None or self._now() < plan.end_s):
            given = self._fill(plan, left)
            left = None if left is None else left - given
            if not self._live() or (
                (left == 0 or (self._preparation.ended and not self._prepared)) and not self._under_way(plan.index)
            ):
                break
            await self.rest(0.02)
        for member in self._live():
            member.drop(plan.index, self._now())
            member.send(EndStage(plan.index))

    def again(self, jobs: Sequence[Job]) -> None:
        """Jobs that a lost worker had not begun: others have them."""
        batches = Batches()
        for job in jobs:
            member = self._member_for(job)
            if member is not None:
                batches.add(member, job)
        batches.flush()

    def _fill(self, plan: StagePlan, left: int | None) -> int:
        """Give each worker what its users may take before we look again, and as much to spare."""
        batches, given, until_s = Batches(), 0, SYSTEM.monotonic_s() + SLICE_S * 2
        live, jobs = self._live(), self.users_jobs(plan)
        users = math.ceil(plan.intended / max(1, len(live)))
        short = {m.number: m.wanted(users, self.first_jobs(users)) for m in live}
        while any(short.values()) and SYSTEM.monotonic_s() < until_s:
            for member in live:
                if short[member.number] <= 0 or member.ahead_bytes > AHEAD_BYTES or left == given:
                    short[member.number] = 0
                    continue
                job = self._prepared.popleft() if self._prepared else next(jobs, None)
                if job is None:
                    short[member.number] = 0
                    continue
                batches.add(member, job)
                short[member.number] -= 1
                given += 1
        batches.flush()
        self.intended[plan.index] = self.intended.get(plan.index, 0) + given
        return given

    def _early_s(self, job: Job) -> float:
        """How long the job can wait before it is handed over."""
        now_s = self._now()
        ahead_s = job.due_s - now_s
        if ahead_s > AHEAD_S:
            return ahead_s - AHEAD_S
        if ahead_s > AT_LEAST_S and all(m.ahead_bytes > AHEAD_BYTES for m in self._live()):
            for member in self._members:
                member.begun(now_s)
            return ahead_s - AT_LEAST_S
        return 0.0

    def _under_way(self, stage: int) -> bool:
        return any(had.stage == stage for member in self._live() for had in member.handed.values())

    def _live(self) -> list[Member]:
        return [member for member in self._members if member.alive]

    def _member_for(self, job: Job) -> Member | None:
        """In turn; turns of one chain go to one worker, which knows when the one before has been answered."""
        if job.chain < 0:
            return self._next()
        member = self._chains.pop(job.chain, None)
        if member is None or not member.alive:
            member = self._next()
        if member is not None:
            self._chains[job.chain] = member
            if len(self._chains) > MOST_CHAINS:
                self._chains.popitem(last=False)
        return member

    def _next(self) -> Member | None:
        live = self._live()
        return live[next(self._turn) % len(live)] if live else None


class Batches:
    """Jobs for several workers, sent some at a time."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Member, list[Job], list[int]]] = {}

    def add(self, member: Member, job: Job) -> None:
        _, jobs, sizes = self._of.setdefault(member.number, (member, [], []))
        jobs.append(job)
        sizes.append(size_bytes(job))
        if len(jobs) >= BATCH_JOBS or sum(sizes) >= BATCH_BYTES:
            member.hand(jobs, sum(sizes))
            del self._of[member.number]

    def flush(self) -> None:
        for member, jobs, sizes in self._of.values():
            member.hand(jobs, sum(sizes))
        self._of.clear()


def split(count: int, among: int) -> list[int]:
    """As evenly as can be: `count` in `among` parts, the first ones one greater."""
    each, over = divmod(count, max(1, among))
    return [each + (at < over) for at in range(among)]
