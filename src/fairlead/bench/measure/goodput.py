"""Which requests were good, and whether the objective was kept."""

from __future__ import annotations

import numpy as np

from fairlead.bench.config.judging import Objective
from fairlead.bench.measure import formulas
from fairlead.bench.measure.confidence import wilson
from fairlead.bench.record import Outcome
from fairlead.bench.records.columns import Bools, Columns
from fairlead.bench.summary import Goodput, Interval

LONG_GAPS = 0.01
"""Of an answer's gaps, so many may be longer than `itl_ms`."""


def is_good(columns: Columns, objective: Objective) -> Bools:
    """Whole, and within every bound. A bound on what a request does not have does not touch it: an answer of one token
    has no time per further token. TTFT and e2e count from when the request was due."""
    good = formulas.is_whole(columns)
    if objective.ttft_ms is not None:
        good &= ~(formulas.ttft_from_due(columns) * 1e3 > objective.ttft_ms)
    if objective.e2e_ms is not None:
        good &= ~(formulas.e2e_from_due(columns) * 1e3 > objective.e2e_ms)
    if objective.tpot_ms is not None:
        good &= ~(formulas.tpot(columns) * 1e3 > objective.tpot_ms)
    if objective.itl_ms is not None:
        gaps = formulas.itl(columns)
        all_gaps = np.bincount(gaps.owner, minlength=len(columns))
        too_long = np.bincount(gaps.owner[gaps.seconds * 1e3 > objective.itl_ms], minlength=len(columns))
        good &= too_long <= LONG_GAPS * all_gaps
    return good


def is_unknown(columns: Columns, objective: Objective) -> Bools:
    """Ended by us, or with a worker, before a bound had been passed: it might have become good."""
    ours = np.isin(columns.outcome, (Outcome.ABORTED, Outcome.LOST))
    had_ms = (columns.end_s - columns.due_s) * 1e3
    if objective.ttft_ms is not None:
        first_ms = np.where(np.isnan(columns.first_token_s), had_ms, formulas.ttft_from_due(columns) * 1e3)
        ours &= first_ms <= objective.ttft_ms
    if objective.e2e_ms is not None:
        ours &= had_ms <= objective.e2e_ms
    return ours


def judge_goodput(
    good: int,
    good_tokens: float,
    judged: int,
    seconds: float,
    objective: Objective,
    effect: float = 1.0,
    unknown: int = 0,
) -> Goodput | None:
    """None: nothing was judged. `effect`: how many requests tell as much as an independent one (design effect).
    `unknown` ones, besides those judged, are all bad at the lower end of the interval and all good at the upper one.

    Kept when the whole interval is at or above the attainment asked for, failed when it is below, else undecided.
    """
    if judged == 0:
        return None
    count = (judged + unknown) / effect
    interval = Interval(wilson(good / effect, count).low, wilson((good + unknown) / effect, count).high)
    kept = True if interval.low >= objective.attainment else False if interval.high < objective.attainment else None
    return Goodput(good / judged, interval, good, judged, good / seconds, good_tokens / seconds, kept)
