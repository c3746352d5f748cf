"""The stages of a load and when their requests are due."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import msgspec

from fairlead.bench.config.load import ClosedLoop, Load, OpenLoop
from fairlead.workload import Arrivals, Stage


class StagePlan(msgspec.Struct, frozen=True):
    """A stage as it is to be. `of`: "rate" (per second) or "users"; `end_s` None: when `requests` have been sent."""

    index: int
    name: str
    of: str
    intended: float
    begin_s: float
    end_s: float | None
    to: float | None = None
    requests: int | None = None


def stages(load: Load) -> Sequence[StagePlan]:
    """One after the other, from 0 s on. A stage told by requests is as long as they take at its rate."""
    plans: list[StagePlan] = []
    begin_s = 0.0
    if isinstance(load, OpenLoop):
        for index, stage in enumerate(load.stages):
            mean = (stage.rate_per_s + (stage.to_rate_per_s or stage.rate_per_s)) / 2
            if stage.seconds is None and stage.requests is None:
                raise ValueError(f"load.stages[{index}] has no end: give seconds or requests")
            seconds = stage.seconds if stage.seconds is not None else (stage.requests or 0) / mean
            name = stage.name or f"{stage.rate_per_s:g}/s"
            plans.append(
                StagePlan(
                    index,
                    name,
                    "rate",
                    stage.rate_per_s,
                    begin_s,
                    begin_s + seconds,
                    stage.to_rate_per_s,
                    stage.requests,
                )
            )
            begin_s += seconds
        return plans
    if isinstance(load, ClosedLoop):
        for index, users in enumerate(load.stages):
            if users.seconds is None and users.requests is None:
                raise ValueError(f"load.stages[{index}] has no end: give seconds or requests")
            end_s = begin_s + users.seconds if users.seconds is not None else None
            name = users.name or f"{users.users} users"
            plans.append(StagePlan(index, name, "users", float(users.users), begin_s, end_s, None, users.requests))
            begin_s = end_s if end_s is not None else begin_s
        return plans
    raise ValueError(f"load.kind is {type(load).__name__}: not carried out yet")


def due_times(plan: StagePlan, load: OpenLoop, seed: int) -> Iterator[float]:
    """Seconds from the origin, rising. Constant gaps are exactly even: the k-th comes k gaps after the first."""
    assert plan.end_s is not None
    stage = Stage(plan.end_s - plan.begin_s, plan.intended, plan.to)
    arrivals = Arrivals(load.process, stages=(stage,), cv=load.cv)
    for count, time_s in enumerate(arrivals.times(random.Random(f"{seed}/{plan.index}"))):
        if plan.requests is not None and count >= plan.requests:
            return
        yield plan.begin_s + time_s
