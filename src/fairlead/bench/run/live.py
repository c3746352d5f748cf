"""What a run says of itself while it goes on: of the last requests alone, and in no report."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter, deque
from collections.abc import Iterable

import msgspec

from fairlead.bench.record import Outcome, Record

KEPT = 1000
GAPS_OF = 100


class Progress(msgspec.Struct, frozen=True):
    """One look at a run. Percentiles are of the last thousand requests (gaps: of the last hundred); None: none yet."""

    phase: str  # preparing | running | draining | writing records | writing reports
    stage: int
    stages: int
    stage_name: str
    of: str
    intended: float
    elapsed_s: float
    stage_left_s: float | None
    achieved_per_s: float
    in_flight: int
    ended: int
    failed: int
    failures: dict[str, int]
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    itl_p50_s: float | None
    itl_p99_s: float | None
    output_tokens_per_s: float
    lag_p99_s: float | None
    cpu_share: float
    workers: int
    workers_lost: int
    notes: tuple[str, ...] = ()
    written: int = 0  # records that have become Parquet, of `ended`


class Recent:
    """The last records, and counts of all."""

    def __init__(self) -> None:
        self.ended = self.whole = 0
        self.failures: Counter[str] = Counter()
        self.last_failure = ""
        self._ttft_s: deque[float] = deque(maxlen=KEPT)
        self._lag_s: deque[float] = deque(maxlen=KEPT)
        self._times: deque[bytes] = deque(maxlen=GAPS_OF)
        self._tokens: deque[tuple[float, int]] = deque()  # (end, tokens) of the last seconds
        self._window_s = 3.0

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.ended += 1
            if record.sent_s == record.sent_s:
                self._lag_s.append(record.worker_lag_s)
            if record.outcome != Outcome.WHOLE:
                self.failures[Outcome(record.outcome).name] += 1
                self.last_failure = record.detail or self.last_failure
                continue
            self.whole += 1
            self._ttft_s.append(record.first_token_s - record.sent_s)
            self._times.append(record.chunk_times)
            tokens = record.server_output_tokens if record.server_output_tokens >= 0 else record.output_chunks
            self._tokens.append((record.end_s, tokens))

    def ttft_s(self, share: float) -> float | None:
        return percentile(list(self._ttft_s), share)

    def lag_s(self, share: float) -> float | None:
        return percentile(list(self._lag_s), share)

    def gaps_s(self) -> list[float]:
        """Of the last answers, pooled."""
        gaps: list[float] = []
        for data in self._times:
            times = array("f", data)
            gaps.extend(b - a for a, b in itertools.pairwise(times))
        return gaps

    def rates(self, now_s: float) -> tuple[float, float]:
        """Answers and tokens per second, of the last seconds."""
        since_s = now_s - self._window_s
        while self._tokens and self._tokens[0][0] < since_s:
            self._tokens.popleft()
        window_s = max(0.25, min(self._window_s, now_s))
        return len(self._tokens) / window_s, sum(tokens for _, tokens in self._tokens) / window_s


def percentile(values: list[float], share: float) -> float | None:
    """Nearest rank; None of none."""
    if not values:
        return None
    values.sort()
    return values[min(len(values) - 1, int(share * len(values)))]
