"""Jobs becoming requests: turn after turn, with the answers so far filled in, and none before the load lets it go."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from fairlead.bench.record import Outcome, Record
from fairlead.bench.session import Job
from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.beat import Beat
from fairlead.bench.worker.flight import NAN, Flight
from fairlead.bench.worker.pool import Pool

_now = time.monotonic  # noqa: TID251 (the hot path reads the clock itself)
_quote = msgspec.json.Encoder().encode

After = Callable[[float, Record | None], None]
"""Called when a session has ended, with the time, and with the record of its last request where that ended it."""


class _Held(NamedTuple):
    """A turn that is due and may not be sent yet."""

    job: Job
    turn: int
    due_s: float


class Sessions:
    """Begins sessions, keeps the answers that their later turns need, and collects the records of what has ended.

    Two things hold a turn that is due: `cap`, the most that may be in flight (None: no such bound), and its chain,
    where a trace's turn before it has not been answered. `beat` tells how late stamps are."""

    def __init__(self, pools: list[Pool], alarm: Alarm, worker: int, beat: Beat) -> None:
        self.records: list[Record] = []
        self.sent = self.ended = 0
        self.origin_s = 0.0
        self.cap: int | None = None
        self._pools, self._alarm, self._worker, self._beat = pools, alarm, worker, beat
        self._answers: dict[int, list[bytes]] = {}
        self._after: dict[int, After] = {}
        self._flights: dict[int, set[Flight]] = {}  # of each stage
        self._resumes: dict[int, tuple[int, float]] = {}  # number of a session between two turns -> stage, when due
        self._held: deque[_Held] = deque()
        self._chains: dict[int, deque[_Held]] = {}  # chain with a turn under way -> turns that wait for it
        self._stopped: set[int] = set()

    def begin(self, job: Job, due_s: float, after: After | None = None) -> None:
        """Send the first turn, when it may be sent. `due_s` is CLOCK_MONOTONIC."""
        if after is not None:
            self._after[job.number] = after
        if len(job.turns) > 1:
            self._answers[job.number] = []
        if job.chain < 0:
            self._turn(job, 0, due_s)
        elif (waiting := self._chains.get(job.chain)) is not None:
            waiting.append(_Held(job, 0, due_s))
        else:
            self._chains[job.chain] = deque()
            self._turn(job, 0, due_s)

    @property
    def in_flight(self) -> int:
        return self.sent - self.ended

    @property
    def held(self) -> int:
        """Turns that are due and may not be sent yet."""
        return len(self._held) + sum(map(len, self._chains.values()))

    def goes_on(self, until_s: float) -> bool:
        """Whether anything is under way, or will be before `until_s`."""
        return bool(self.in_flight or self._held) or any(due_s < until_s for _, due_s in self._resumes.values())

    def stop(self, stage: int) -> None:
        """No further turn of this stage; those that are held are told as not sent."""
        self._stopped.add(stage)
        self._drop_held(stage, "the stage was ended")

    def abort(self, stage: int | None, detail: str) -> None:
        """Close what is in flight (None: of all stages), and record it."""
        now_s = _now()
        stages = [stage] if stage is not None else list(self._flights)
        self._stopped.update(stages)
        self._drop_held(stage, detail)
        flights = [f for s in stages for f in self._flights.get(s, ())]
        for number, pool in enumerate(self._pools):
            pool.abort([f for f in flights if f.job.target == number], detail, now_s)

    def allow(self, cap: int | None) -> None:
        """So many may be in flight from now on."""
        self.cap = cap
        self._release(_now())

    def _turn(self, job: Job, turn: int, due_s: float) -> None:
        if self.cap is not None and self.sent - self.ended >= self.cap:
            self._held.append(_Held(job, turn, due_s))
        else:
            self._send(job, turn, due_s, 0.0)

    def _send(self, job: Job, turn: int, due_s: float, held_s: float) -> None:
        prepared = job.turns[turn]
        pieces = prepared.pieces
        if len(pieces) == 1:
            body = pieces[0]
        else:
            answers = self._answers[job.number]
            body = b"".join(p for pair in zip(pieces, [*answers, b""], strict=False) for p in pair)
        keep = turn + 1 < len(job.turns)
        flight = Flight(job, turn, due_s, body, keep, self._landed, self._beat)
        flight.held_s = held_s
        flight.acted_s = now_s = _now()
        flight.lag_s = now_s - due_s - held_s
        self.sent += 1
        self._flights.setdefault(job.stage, set()).add(flight)
        self._pools[job.target].fly(flight)

    def _landed(self, flight: Flight) -> None:
        job = flight.job
        self._pools[job.target].landed(flight)
        self._flights[job.stage].discard(flight)
        self.ended += 1
        record = flight.record(self.origin_s, self._worker)
        self.records.append(record)
        following = flight.turn + 1
        if flight.outcome is Outcome.WHOLE and following < len(job.turns) and job.stage not in self._stopped:
            self._answers[job.number].append(_quote(flight.reading.kept())[1:-1])
            due_s = flight.end_s + job.turns[following].pause_s
            self._resumes[job.number] = job.stage, due_s
            self._alarm.at(due_s, lambda: self._resume(job, following, due_s))
        else:
            self._over(job, flight.end_s, record)
        if self._held:
            self._release(flight.end_s)

    def _resume(self, job: Job, turn: int, due_s: float) -> None:
        del self._resumes[job.number]
        if job.stage in self._stopped:
            self._over(job, due_s, None)
        else:
            self._turn(job, turn, due_s)

    def _over(self, job: Job, now_s: float, record: Record | None) -> None:
        self._answers.pop(job.number, None)
        after = self._after.pop(job.number, None)
        if after is not None:
            after(now_s, record)
        if job.chain >= 0:
            waiting = self._chains[job.chain]
            if not waiting:
                del self._chains[job.chain]
            elif self.cap is not None:
                self._held.append(waiting.popleft())
            else:
                held = waiting.popleft()
                self._send(*held, max(0.0, now_s - held.due_s))

    def _release(self, now_s: float) -> None:
        """Send what was held, in the order in which it was due, as far as it may be."""
        while self._held and (self.cap is None or self.sent - self.ended < self.cap):
            held = self._held.popleft()
            self._send(*held, max(0.0, now_s - held.due_s))

    def _drop_held(self, stage: int | None, detail: str) -> None:
        """Record them: they were due, and are not sent."""
        now_s = _now()
        queues = [self._held, *self._chains.values()]
        for queue in queues:
            kept = [held for held in queue if stage is not None and held.job.stage != stage]
            for held in queue:
                if stage is None or held.job.stage == stage:
                    self._unsent(held, detail, now_s)
            queue.clear()
            queue.extend(kept)

    def _unsent(self, held: _Held, detail: str, now_s: float) -> None:
        flight = Flight(held.job, held.turn, held.due_s, b"", False, lambda _: None, self._beat)
        flight.held_s, flight.lag_s = now_s - held.due_s, NAN
        flight.end(now_s, Outcome.ABORTED, detail)
        record = flight.record(self.origin_s, self._worker)
        self.records.append(record)
        self._answers.pop(held.job.number, None)
        if (after := self._after.pop(held.job.number, None)) is not None:
            after(now_s, record)
