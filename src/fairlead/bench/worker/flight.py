"""One request under way: what it sends, what has come of it, and the record that is left of it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

from fairlead.bench.record import Outcome, Record
from fairlead.bench.session import Job
from fairlead.bench.targets.reading import Reading
from fairlead.bench.worker.beat import Beat

NAN = math.nan


class Flight:
    """Times are CLOCK_MONOTONIC; the record's are seconds from the origin. `acted_s`: when the worker got to it;
    `lag_s`: how long that was after it might be sent; `held_s`: how long it might not be, before that or (`capped`)
    while as many connections as are allowed were in use. The rest until `sent_s` is the wait for a connection."""

    __slots__ = (
        "acted_s",
        "beat",
        "body",
        "capped",
        "chunk_times",
        "chunk_tokens",
        "detail",
        "due_s",
        "end_s",
        "ended",
        "first_byte_s",
        "first_token_s",
        "head",
        "held_s",
        "job",
        "lag_s",
        "last_token_s",
        "late_s",
        "new_connection",
        "on_end",
        "outcome",
        "reading",
        "retried",
        "retry_after_s",
        "seen_s",
        "sent_s",
        "several",
        "status",
        "turn",
        "written_s",
    )  # fmt: skip

    def __init__(
        self, job: Job, turn: int, due_s: float, body: bytes, keep_text: bool, on_end: Callable[[Flight], None],
        beat: Beat,
    ):  # fmt: skip
        self.job, self.turn, self.due_s, self.body, self.on_end = job, turn, due_s, body, on_end
        self.head, self.beat = job.head, beat
        self.reading = Reading(keep_text)
        self.acted_s = self.sent_s = self.written_s = NAN
        self.first_byte_s = self.first_token_s = self.last_token_s = self.end_s = NAN
        self.seen_s = self.lag_s = NAN
        self.held_s = self.late_s = 0.0
        self.chunk_times = array("f")
        self.chunk_tokens = array("H")
        self.several = False  # an event had other than one token
        self.new_connection = self.retried = self.ended = self.capped = False
        self.status, self.outcome = 0, Outcome.WHOLE
        self.retry_after_s, self.detail = NAN, ""

    def token(self, now_s: float, tokens: int) -> None:
        """An event with text has come."""
        times = self.chunk_times
        if not times:
            self.first_token_s = now_s
            self.late_s = self.beat.late_s(now_s)
        self.last_token_s = now_s
        times.append(now_s - self.sent_s)
        self.chunk_tokens.append(tokens if tokens < 65_536 else 65_535)
        if tokens != 1:
            self.several = True

    def end(self, now_s: float, outcome: Outcome, detail: str = "") -> None:
        """Once; later calls change nothing."""
        if self.ended:
            return
        self.ended = True
        self.end_s, self.outcome, self.detail = now_s, outcome, detail
        if (late_s := self.beat.late_s(now_s)) > self.late_s:
            self.late_s = late_s
        self.on_end(self)

    def record(self, origin_s: float, worker: int) -> Record:
        turn = self.job.turns[self.turn]
        reading = self.reading
        return Record(
            self.job.number, self.turn, self.job.stage, self.job.target, self.job.adapter, worker, int(self.outcome),
            self.status, self.due_s - origin_s, self.sent_s - origin_s, self.written_s - origin_s,
            self.first_byte_s - origin_s, self.first_token_s - origin_s, self.last_token_s - origin_s,
            self.end_s - origin_s, turn.prompt_tokens, turn.output_tokens, len(self.chunk_times), reading.prompt_tokens,
            reading.output_tokens, reading.cached_tokens, self.new_connection, self.retry_after_s,
            self.lag_s, reading.finish, self.detail, self.chunk_times.tobytes(),
            self.chunk_tokens.tobytes() if self.several else b"", self.retried, self.held_s, self.late_s,
        )  # fmt: skip


def outcome_of_status(status: int) -> Outcome:
    """The class of failure of an HTTP status of 300 or more."""
    if status in (401, 403):
        return Outcome.UNAUTHORIZED
    if status == 429:
        return Outcome.RATE_LIMITED
    if status == 503:
        return Outcome.UNAVAILABLE
    return Outcome.HTTP_5XX if status >= 500 else Outcome.HTTP_4XX
