"""The load beside the replicas: what was due, good, failed and answered, in slices of time over the whole run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fairlead.bench.config import Benchmark
from fairlead.bench.measure import formulas
from fairlead.bench.measure.goodput import is_good, is_unknown
from fairlead.bench.measure.slices import Slices
from fairlead.bench.record import Outcome, Record
from fairlead.bench.records.columns import Columns, columns_of

GATHERED = 512
MOST_FAILURES = 100_000
"""Times of failures that are kept one by one, so that they can be told apart by what happened meanwhile."""
OURS = (Outcome.ABORTED, Outcome.LOST)
DUE, JUDGED, GOOD, FAILED, TOKENS, FIRSTS, TTFT = range(7)


class LoadSeen(NamedTuple):
    """`rows[DUE]` and so on: sums of slices of `slice_s` from 0 s on. By when requests were due: how many, judged,
    good, with a first token, and the sum of these' times; by when they ended: failed, output tokens. `failures`: when
    each ended, rising."""

    slice_s: float
    rows: tuple[tuple[float, ...], ...]
    failures: tuple[float, ...] = ()

    def between(self, row: int, begin_s: float, end_s: float) -> float:
        """The sum within a window; of slices on its edges, what is inside."""
        values = self.rows[row]
        total, end_s = 0.0, min(end_s, len(values) * self.slice_s)
        for at in range(max(0, int(begin_s / self.slice_s)), min(len(values), int(end_s / self.slice_s) + 1)):
            inside = min(end_s, (at + 1) * self.slice_s) - max(begin_s, at * self.slice_s)
            total += values[at] * min(1.0, max(0.0, inside / self.slice_s))
        return total

    def failed(self, begin_s: float, end_s: float) -> int:
        """Requests whose failure came within a window."""
        return bisect_left(self.failures, end_s) - bisect_left(self.failures, begin_s)


class LoadMeter:
    """Counts what has ended, in batches."""

    def __init__(self, config: Benchmark) -> None:
        self._objective = config.objective
        self._streamed = np.array([target.stream and target.api != "embeddings" for target in config.targets])
        self._slices = Slices(0.0, 7)
        self._waiting: list[Record] = []
        self._failures: list[float] = []

    def add(self, records: Sequence[Record]) -> None:
        self._waiting.extend(records)
        if len(self._waiting) >= GATHERED:
            self._measure()

    def seen(self) -> LoadSeen:
        self._measure()
        slices = self._slices
        rows = tuple(tuple(row[: slices.used].tolist()) for row in slices.sums)
        return LoadSeen(slices.slice_s, rows, tuple(sorted(self._failures)))

    def _measure(self) -> None:
        records, self._waiting = self._waiting, []
        if records:
            self._count(columns_of(records))

    def _count(self, columns: Columns) -> None:
        slices = self._slices
        slices.add(DUE, columns.due_s)
        whole = formulas.is_whole(columns)
        # What was ended from here is nobody's failure.
        ended_s = columns.end_s[~whole & ~np.isin(columns.outcome, OURS)]
        slices.add(FAILED, ended_s)
        self._failures += ended_s[: max(0, MOST_FAILURES - len(self._failures))].tolist()
        slices.add(TOKENS, columns.end_s[whole], formulas.output_tokens(columns)[whole].astype(np.float64))
        if self._objective is not None:
            judged = ~is_unknown(columns, self._objective)
            slices.add(JUDGED, columns.due_s[judged])
            slices.add(GOOD, columns.due_s[judged & is_good(columns, self._objective)])
        ttft = formulas.ttft_from_due(columns)
        there = whole & self._streamed[columns.target] & ~np.isnan(ttft)
        slices.add(FIRSTS, columns.due_s[there])
        slices.add(TTFT, columns.due_s[there], ttft[there])
