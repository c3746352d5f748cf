"""A closed loop: users who take a session when they are free, think, and take the next."""

from __future__ import annotations

import random
from collections import deque

from fairlead.bench.session import Job
from fairlead.bench.wire import Users
from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.sessions import Sessions


class ClosedStage:
    """The users of one stage in this worker. A user that is free and finds no job waits for the next message with
    jobs."""

    def __init__(self, told: Users, sessions: Sessions, alarm: Alarm) -> None:
        self._told, self._sessions, self._alarm = told, sessions, alarm
        self._jobs: deque[Job] = deque()
        self._free: deque[float] = deque()  # since when users have been waiting for a job
        self._random = random.Random(told.seed)
        self._end_s = sessions.origin_s + told.end_s
        self._stopped = False
        for number in range(told.users):
            at_s = sessions.origin_s + told.begin_s + told.ramp_s * number / told.users
            alarm.at(at_s, lambda at_s=at_s: self._take(at_s))  # type: ignore[misc]

    @property
    def queued(self) -> int:
        return len(self._jobs)

    def add(self, jobs: list[Job]) -> None:
        if self._stopped:
            return
        self._jobs.extend(jobs)
        while self._free and self._jobs:
            self._take(self._free.popleft())

    def stop(self) -> None:
        self._stopped = True
        self._jobs.clear()

    def _take(self, due_s: float) -> None:
        if self._stopped or due_s >= self._end_s:
            return
        if not self._jobs:
            self._free.append(due_s)
            return
        self._sessions.begin(self._jobs.popleft(), due_s, self._think)

    def _think(self, now_s: float) -> None:
        mean_s = self._told.think_s
        pause_s = self._random.expovariate(1 / mean_s) if self._told.exponential and mean_s > 0 else mean_s
        due_s = now_s + pause_s
        self._alarm.at(due_s, lambda: self._take(due_s))
