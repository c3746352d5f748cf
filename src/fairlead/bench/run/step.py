"""One step of a search while it runs: which of its requests were good, and how far that can be said by now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from fairlead.bench.config import Objective
from fairlead.bench.measure import formulas
from fairlead.bench.measure.goodput import is_good
from fairlead.bench.record import Outcome, Record
from fairlead.bench.records.columns import Bools, Columns, Floats, columns_of
from fairlead.bench.search.judging import Seen


class Step:
    """Keeps of each request when it was due, whether it was good, and how late its first token came."""

    def __init__(self, begin_s: float, objective: Objective) -> None:
        self._begin_s, self._objective = begin_s, objective
        self._due_s: list[Floats] = [np.empty(0)]
        self._good: list[Bools] = [np.empty(0, bool)]
        self._delay_s: list[Floats] = [np.empty(0)]
        self._unknown_s = math.inf  # the first due of those whose end we made ourselves

    def add(self, records: Sequence[Record]) -> None:
        columns = columns_of(records)
        unknown = (columns.outcome == Outcome.ABORTED) & ~_is_bad_already(columns, self._objective)
        if unknown.any():
            self._unknown_s = min(self._unknown_s, float(columns.due_s[unknown].min()))
        self._due_s.append(columns.due_s[~unknown])
        self._good.append(is_good(columns, self._objective)[~unknown])
        self._delay_s.append(formulas.ttft_from_due(columns)[~unknown])

    def seen(self, under_way_s: Iterable[float], now_s: float) -> Seen:
        """`under_way_s`: when those that have not ended were due. Older than the objective allows, they are not good;
        otherwise nothing is said of what was due after the first of them."""
        late_s = self._objective.e2e_ms / 1e3 if self._objective.e2e_ms is not None else math.inf
        open_s = np.array(list(under_way_s))
        over = open_s[now_s - open_s > late_s]
        until_s = min(float(open_s[now_s - open_s <= late_s].min(initial=math.inf)), self._unknown_s)
        due_s = np.concatenate([*self._due_s, over])
        good = np.concatenate([*self._good, np.zeros(len(over), bool)])
        delay_s = np.concatenate([*self._delay_s, np.full(len(over), math.nan)])
        order = np.argsort(due_s, kind="stable")
        taken = order[(due_s[order] >= self._begin_s) & (due_s[order] < until_s)]
        return Seen(due_s[taken] - self._begin_s, good[taken], delay_s[taken], now_s - self._begin_s)


def _is_bad_already(columns: Columns, objective: Objective) -> Bools:
    """Whether a request that we ended ourselves was past a bound by then."""
    bad = np.zeros(len(columns), bool)
    waited_s = columns.end_s - columns.due_s
    if objective.ttft_ms is not None:
        first_s = np.where(np.isnan(columns.first_token_s), waited_s, columns.first_token_s - columns.due_s)
        bad |= first_s * 1e3 > objective.ttft_ms
    if objective.e2e_ms is not None:
        bad |= waited_s * 1e3 > objective.e2e_ms
    return bad
