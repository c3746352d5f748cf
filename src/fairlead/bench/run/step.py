"""One step of a search while it runs: which of its requests were good, and how far that can be said by now."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fairlead.bench.config import Objective
from fairlead.bench.record import Outcome, Record
from fairlead.bench.run.good import is_good, is_known
from fairlead.bench.search.judging import Seen


class Step:
    """Keeps of each request when it was due, whether it was good, and how late its first token came."""

    def __init__(self, begin_s: float, objective: Objective) -> None:
        self._begin_s, self._objective = begin_s, objective
        self._due_s: list[float] = []
        self._good: list[bool] = []
        self._delay_s: list[float] = []
        self._unknown_s = math.inf  # the first due of those whose end we made ourselves

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.outcome == Outcome.ABORTED and not is_known(record, self._objective):
                self._unknown_s = min(self._unknown_s, record.due_s)
                continue
            self._due_s.append(record.due_s)
            self._good.append(is_good(record, self._objective))
            self._delay_s.append(record.first_token_s - record.due_s)

    def seen(self, under_way_s: Iterable[float], now_s: float) -> Seen:
        """`under_way_s`: when those that have not ended were due. Older than the objective allows, they are not good;
        otherwise nothing is said of what was due after the first of them."""
        late_s = self._objective.e2e_ms / 1e3 if self._objective.e2e_ms is not None else math.inf
        open_s = list(under_way_s)
        over = [due_s for due_s in open_s if now_s - due_s > late_s]
        until_s = min((due_s for due_s in open_s if now_s - due_s <= late_s), default=math.inf)
        until_s = min(until_s, self._unknown_s)
        due_s = np.array(self._due_s + over)
        good = np.array(self._good + [False] * len(over), bool)
        delay_s = np.array(self._delay_s + [math.nan] * len(over))
        order = np.argsort(due_s, kind="stable")
        taken = order[(due_s[order] >= self._begin_s) & (due_s[order] < until_s)]
        return Seen(due_s[taken] - self._begin_s, good[taken], delay_s[taken], now_s - self._begin_s)
