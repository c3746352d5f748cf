"""One workload's replicas and accelerators over time, from its wanted number and the lives of its pods. Pure.

A replica is allocated from when its pod has a node until it is gone: for so long its accelerators are nobody else's,
and paid for. It is ready while all its pods are ready and none has been told to go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from fairlead.bench.replicas.steps import Steps, hidden, steps_of, sum_of_changes, sum_of_spans
from fairlead.bench.scaling_summary import PodLife, ReplicaTime, StartUp

EARLIEST_S = -1e9
"""Before any pod."""


class Timeline(NamedTuple):
    """`accelerators` and `ready_accelerators` None: no pod is known to hold one. `gaps`: when nobody could look;
    numbers of pods go on through them, as a pod that is there before and after was there, and what may be otherwise is
    in its `unsure_s`."""

    name: str
    desired: Steps
    allocated: Steps
    ready: Steps
    accelerators: Steps | None
    ready_accelerators: Steps | None
    per_replica: float | None
    lives: tuple[PodLife, ...]
    gaps: tuple[tuple[float, float], ...]


def timeline(
    name: str,
    wanted: Steps,
    lives: Sequence[PodLife],
    gaps: Sequence[tuple[float, float]] = (),
    per_replica: float | None = None,
) -> Timeline:
    """`per_replica`: accelerators, in place of what the pods ask for."""
    replicas: dict[str, list[PodLife]] = defaultdict(list)
    for life in lives:
        replicas[life.replica].append(life)
    allocated = sum_of_spans([(*_held(life), 1.0 / life.size) for life in lives], 0.0)
    whole = [(_all_ready(members), members) for members in replicas.values()]
    ready = _added([steps for steps, _ in whole])
    held = ready_held = None
    if per_replica is None:
        held = sum_of_spans([(*_held(life), life.accelerators or 0.0) for life in lives], 0.0)
        if all(life.accelerators is None for life in lives):
            held = None
        else:
            sizes = [_most_held(members) for members in replicas.values()]
            per_replica = max(sizes)
            ready_held = _added([_times(steps, size) for (steps, _), size in zip(whole, sizes, strict=True)])
    else:
        held, ready_held = _times(allocated, per_replica), _times(ready, per_replica)
    return Timeline(
        name, hidden(wanted, gaps), allocated, ready, held, ready_held, per_replica if held is not None else None,
        tuple(lives), tuple(gaps),
    )  # fmt: skip


def replica_time(name: str, begin_s: float, end_s: float, of: Sequence[Timeline]) -> ReplicaTime:
    """What there was of all workloads from one time to another: ∫ number dt."""
    wanted = [(line.desired.area(begin_s, end_s), line.per_replica) for line in of]
    accelerators = [line for line in of if line.accelerators is not None]

    def total(steps: Sequence[Steps | None]) -> float | None:
        found = [each.area(begin_s, end_s).sum for each in steps if each is not None]
        return sum(found) if found else None

    return ReplicaTime(
        name, begin_s, end_s,
        sum(area.sum for area, _ in wanted),
        total([line.allocated for line in of]) or 0.0,
        total([line.ready for line in of]) or 0.0,
        sum(area.sum * (per or 0.0) for area, per in wanted) if accelerators else None,
        total([line.accelerators for line in of]),
        total([line.ready_accelerators for line in of]),
        max((area.unknown_s for area, _ in wanted), default=0.0),
        sum(_unsure(life, begin_s, end_s, bool(accelerators), line.per_replica) for line in of for life in line.lives),
    )  # fmt: skip


def start_ups(lives: Sequence[PodLife], begin_s: float = 0.0) -> tuple[StartUp, ...]:
    """Of the pods that were created while somebody looked."""
    found = []
    for moment in ("scheduled", "started", "ready", "served"):
        took = sorted(
            max(0.0, at_s - life.seen.created)
            for life in lives
            if life.seen.created is not None
            and life.seen.created >= begin_s
            and (at_s := getattr(life.seen, moment)) is not None
        )
        if took:
            middle = len(took) // 2
            median = took[middle] if len(took) % 2 else (took[middle - 1] + took[middle]) / 2
            found.append(StartUp(moment, len(took), median, took[-1]))
    return tuple(found)


def _held(life: PodLife) -> tuple[float, float | None]:
    """From when to when it has a node; never: for no time at all."""
    began_s = life.at("scheduled")
    return (0.0, 0.0) if began_s is None else (began_s, life.at("gone"))


def _all_ready(members: Sequence[PodLife]) -> Steps:
    """1 while as many of its pods are ready as it takes, else 0."""
    count = sum_of_spans([(a, b, 1.0) for life in members for a, b in life.ready], 0.0)
    size = max(life.size for life in members)
    return steps_of((t, float((v or 0.0) >= size - 1e-6)) for t, v in zip(count.times_s, count.values, strict=True))


def _most_held(members: Sequence[PodLife]) -> float:
    """Accelerators of a whole replica: as many as its pods have had at one time."""
    steps = sum_of_spans([(*_held(life), life.accelerators or 0.0) for life in members], EARLIEST_S)
    return max((value for value in steps.values if value is not None), default=0.0)


def _added(of: Sequence[Steps]) -> Steps:
    changes = [(0.0, 0.0)]
    for steps in of:
        before = 0.0
        for time_s, value in zip(steps.times_s, steps.values, strict=True):
            changes.append((time_s, (value or 0.0) - before))
            before = value or 0.0
    return sum_of_changes(changes)


def _times(steps: Steps, factor: float) -> Steps:
    return Steps(steps.times_s, tuple(None if v is None else v * factor for v in steps.values))


def _unsure(life: PodLife, begin_s: float, end_s: float, of_accelerators: bool, per: float | None) -> float:
    """Replica-seconds, or accelerator-seconds, of a window in which it may have been gone already."""
    gone_s = life.at("gone")
    if gone_s is None or not life.unsure_s:
        return 0.0
    seconds = max(0.0, min(end_s, gone_s) - max(begin_s, gone_s - life.unsure_s))
    weight = life.accelerators if life.accelerators is not None else (per or 0.0) / life.size
    return seconds * (weight if of_accelerators else 1.0 / life.size)
