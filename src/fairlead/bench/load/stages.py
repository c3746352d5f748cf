"""The stages of a load: how long each is, and what it is meant to be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from fairlead.bench.config.load import ClosedLoop, ClosedStage, Load, OpenLoop, OpenStage, Search, TracedTimes
from fairlead.bench.load.due import due_times

__all__ = ["StagePlan", "due_times", "stages"]

LAST_MOMENT_S = 1e-3
"""The last request of a trace belongs to its last stage."""


class StagePlan(msgspec.Struct, frozen=True):
    """A stage as it is to be. `of`: "rate" (per second), "users" or "trace" (`intended` is its mean rate); `end_s`
    None: when `requests` have been sent. `to`: the rate at its end, where it changes."""

    index: int
    name: str
    of: str
    intended: float
    begin_s: float
    end_s: float | None
    to: float | None = None
    requests: int | None = None


def stages(load: Load, times_s: Sequence[float] = ()) -> Sequence[StagePlan]:
    """One after the other, from 0 s on. A stage told by requests is as long as they take at its rate; a stage of users
    told by requests has no end before it is run.

    `times_s`: when a trace's requests come, for a load of `kind: trace`. Raises ValueError for a stage without an end,
    and for a search, whose stages are found as it goes."""
    if isinstance(load, OpenLoop):
        return _open(load.stages)
    if isinstance(load, ClosedLoop):
        return _closed(load.stages)
    if isinstance(load, TracedTimes):
        return _traced(load, times_s)
    assert isinstance(load, Search)
    raise ValueError("load.kind is search: its stages are found one after the other, none is known beforehand")


def _open(given: Sequence[OpenStage]) -> list[StagePlan]:
    plans: list[StagePlan] = []
    begin_s = 0.0
    _some(len(given))
    for index, stage in enumerate(given):
        _ends(index, stage)
        to = stage.to_rate_per_s
        mean = (stage.rate_per_s + (stage.rate_per_s if to is None else to)) / 2
        seconds = (stage.requests or 0) / mean if stage.seconds is None else stage.seconds
        shape = f"{stage.rate_per_s:g}/s" if to is None else f"{stage.rate_per_s:g} to {to:g}/s"
        plans.append(
            StagePlan(
                index, stage.name or shape, "rate", stage.rate_per_s, begin_s, begin_s + seconds, to, stage.requests
            )
        )
        begin_s += seconds
    return plans


def _closed(given: Sequence[ClosedStage]) -> list[StagePlan]:
    plans: list[StagePlan] = []
    begin_s = 0.0
    _some(len(given))
    for index, stage in enumerate(given):
        _ends(index, stage)
        end_s = None if stage.seconds is None else begin_s + stage.seconds
        name = stage.name or (f"{stage.users} users" if stage.users > 1 else "1 user")
        plans.append(StagePlan(index, name, "users", float(stage.users), begin_s, end_s, None, stage.requests))
        begin_s = begin_s if end_s is None else end_s
    return plans


def _some(count: int) -> None:
    if not count:
        raise ValueError("load.stages is empty: give at least one stage")


def _ends(index: int, stage: OpenStage | ClosedStage) -> None:
    if stage.seconds is None and stage.requests is None:
        raise ValueError(f"load.stages[{index}] has no end: give seconds or requests")


def _traced(load: TracedTimes, times_s: Sequence[float]) -> list[StagePlan]:
    """Stretches in which nothing comes are no stages of their own: there is nothing to say of them."""
    if not times_s:
        raise ValueError("load.kind is trace, and there is no trace: set content.kind to trace, or another load.kind")
    whole_s = times_s[-1] / load.speed + LAST_MOMENT_S
    length_s = whole_s if load.stage_s is None else load.stage_s
    plans: list[StagePlan] = []
    first, number = 0, 0
    while first < len(times_s):
        end_s = min(whole_s, (number + 1) * length_s)
        after = bisect_left(times_s, end_s, key=lambda time_s: time_s / load.speed)
        if after > first:
            begin_s = number * length_s
            name = "trace" if load.stage_s is None else f"from {begin_s:g} s"
            rate = (after - first) / max(LAST_MOMENT_S, end_s - begin_s)
            plans.append(StagePlan(len(plans), name, "trace", rate, begin_s, end_s, None, after - first))
            first, number = after, number + 1
        else:
            # Rounding may find the stretch after the right one, never one more.
            number = max(number + 1, int(times_s[first] / load.speed / length_s) - 1)
    return plans
