"""A closed loop: users who take a session when they are free, think, and take the next.

A user whose request failed pauses before the next one, twice as long after each further failure in a row: a server
that refuses at once would otherwise be asked thousands of times a second, and the client's own CPU be what is measured.
Every refusal stays a failed request of its own, and its record says how long its user paused after it.
"""

from __future__ import annotations

import random
from collections import deque

from fairlead.bench.record import Outcome, Record
from fairlead.bench.session import Job
from fairlead.bench.wire import Users
from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.sessions import Sessions

LONGEST_BACKOFF_S = 5.0


class ClosedStage:
    """The users of one stage in this worker. A user that is free and finds no job waits for the next message with
    jobs."""

    def __init__(self, told: Users, sessions: Sessions, alarm: Alarm) -> None:
        self._told, self._sessions, self._alarm = told, sessions, alarm
        self._jobs: deque[Job] = deque()
        self._free: deque[tuple[float, int]] = deque()  # since when users have waited for a job, and their failures
        self._random = random.Random(told.seed)
        self._end_s = sessions.origin_s + told.end_s
        self._stopped = False
        for number in range(told.users):
            at_s = sessions.origin_s + told.begin_s + told.ramp_s * number / told.users
            self._take_at(at_s, 0)

    @property
    def queued(self) -> int:
        return len(self._jobs)

    def add(self, jobs: list[Job]) -> None:
        if self._stopped:
            return
        self._jobs.extend(jobs)
        while self._free and self._jobs:
            self._take(*self._free.popleft())

    def stop(self) -> None:
        self._stopped = True
        self._jobs.clear()

    def _take_at(self, due_s: float, failures: int) -> None:
        self._alarm.at(due_s, lambda: self._take(due_s, failures))

    def _take(self, due_s: float, failures: int) -> None:
        """`failures`: in a row, by the user who is free."""
        if self._stopped or due_s >= self._end_s:
            return
        if not self._jobs:
            self._free.append((due_s, failures))
            return
        self._sessions.begin(self._jobs.popleft(), due_s, lambda now_s, record: self._think(now_s, record, failures))

    def _think(self, now_s: float, record: Record | None, failures: int) -> None:
        mean_s = self._told.think_s
        pause_s = self._random.expovariate(1 / mean_s) if self._told.exponential and mean_s > 0 else mean_s
        failed = record is not None and record.outcome != Outcome.WHOLE
        if failed and record is not None:
            record.backoff_s = self._backoff(record, failures)
            pause_s += record.backoff_s
        self._take_at(now_s + pause_s, failures + 1 if failed else 0)

    def _backoff(self, record: Record, failures: int) -> float:
        """Spread, so that users whom one fault has hit do not come back all at once."""
        longest_s = min(LONGEST_BACKOFF_S, self._told.backoff_s * 2.0 ** min(failures, 32))
        backoff_s = longest_s * (0.5 + 0.5 * self._random.random())
        if self._told.retry_after and record.retry_after_s == record.retry_after_s:
            backoff_s = max(backoff_s, record.retry_after_s)
        return backoff_s
