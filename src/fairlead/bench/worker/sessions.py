"""Jobs becoming requests: turn after turn, with the answers so far filled in."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from fairlead.bench.record import Outcome, Record
from fairlead.bench.session import Job
from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.flight import Flight
from fairlead.bench.worker.pool import Pool

_now = time.monotonic  # noqa: TID251 (the hot path reads the clock itself)
_quote = msgspec.json.Encoder().encode


class Sessions:
    """Begins sessions, keeps the answers that their later turns need, and collects the records of what has ended."""

    def __init__(self, pools: list[Pool], alarm: Alarm, worker: int) -> None:
        self.records: list[Record] = []
        self.sent = self.ended = 0
        self.origin_s = 0.0
        self._pools, self._alarm, self._worker = pools, alarm, worker
        self._answers: dict[int, list[bytes]] = {}
        self._after: dict[int, Callable[[float], None]] = {}
        self._flights: dict[int, set[Flight]] = {}  # of each stage
        self._pausing: dict[int, int] = {}  # sessions of each stage between two turns
        self._stopped: set[int] = set()

    def begin(self, job: Job, due_s: float, after: Callable[[float], None] | None = None) -> None:
        """Send the first turn now. `due_s` is CLOCK_MONOTONIC; `after` is called with the time when the session has
        ended."""
        if after is not None:
            self._after[job.number] = after
        if len(job.turns) > 1:
            self._answers[job.number] = []
        self._turn(job, 0, due_s)

    def is_busy(self, stage: int) -> bool:
        """Whether a session of the stage is under way, between two turns too."""
        return bool(self._flights.get(stage)) or self._pausing.get(stage, 0) > 0

    @property
    def in_flight(self) -> int:
        return self.sent - self.ended

    def stop(self, stage: int) -> None:
        """No further turn of this stage."""
        self._stopped.add(stage)

    def abort(self, stage: int | None, detail: str) -> None:
        """Close what is in flight (None: of all stages), and record it."""
        now_s = _now()
        stages = [stage] if stage is not None else list(self._flights)
        self._stopped.update(stages)
        flights = [f for s in stages for f in self._flights.get(s, ())]
        for number, pool in enumerate(self._pools):
            pool.abort([f for f in flights if f.job.target == number], detail, now_s)

    def _turn(self, job: Job, turn: int, due_s: float) -> None:
        prepared = job.turns[turn]
        pieces = prepared.pieces
        if len(pieces) == 1:
            body = pieces[0]
        else:
            answers = self._answers[job.number]
            body = b"".join(p for pair in zip(pieces, [*answers, b""], strict=False) for p in pair)
        keep = turn + 1 < len(job.turns)
        flight = Flight(job, turn, due_s, body, keep, self._landed)
        flight.acted_s = _now()
        self.sent += 1
        self._flights.setdefault(job.stage, set()).add(flight)
        self._pools[job.target].fly(flight)

    def _landed(self, flight: Flight) -> None:
        job = flight.job
        self._pools[job.target].landed(flight)
        self._flights[job.stage].discard(flight)
        self.ended += 1
        self.records.append(flight.record(self.origin_s, self._worker))
        following = flight.turn + 1
        if flight.outcome is Outcome.WHOLE and following < len(job.turns) and job.stage not in self._stopped:
            self._answers[job.number].append(_quote(flight.reading.kept())[1:-1])
            due_s = flight.end_s + job.turns[following].pause_s
            self._pausing[job.stage] = self._pausing.get(job.stage, 0) + 1
            self._alarm.at(due_s, lambda: self._resume(job, following, due_s))
        else:
            self._over(job, flight.end_s)

    def _resume(self, job: Job, turn: int, due_s: float) -> None:
        self._pausing[job.stage] -= 1
        if job.stage in self._stopped:
            self._over(job, due_s)
        else:
            self._turn(job, turn, due_s)

    def _over(self, job: Job, now_s: float) -> None:
        self._answers.pop(job.number, None)
        after = self._after.pop(job.number, None)
        if after is not None:
            after(now_s)
