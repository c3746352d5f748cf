"""The figures of what scaled, from timelines, the load as it was seen, and the run's own summary. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

from fairlead.bench.config import Benchmark, ClosedLoop, OpenLoop, Scaling
from fairlead.bench.load.stages import stages
from fairlead.bench.replicas.demand import Carried, carried, edges_of, least_replica_s, stretches
from fairlead.bench.replicas.load_seen import DUE, FAILED, FIRSTS, GOOD, JUDGED, TOKENS, TTFT, LoadSeen
from fairlead.bench.replicas.reactions import Leg, load_turns, reactions, scale_steps, shifts, short_slices, turns
from fairlead.bench.replicas.steps import hidden
from fairlead.bench.replicas.timeline import Timeline, replica_time, start_ups
from fairlead.bench.scaling_summary import (
    Efficiency,
    PodLife,
    Reaction,
    ReplicaTime,
    ScaleStep,
    ScalingSlice,
    ScalingSummary,
    WorkloadScaling,
)
from fairlead.bench.server_side.cost import price_of
from fairlead.bench.server_side.figures import Price
from fairlead.bench.summary import RunSummary

MOST_SLICES, SHORTEST_SLICE_S = 240, 1.0
CLOCK_S = 2.0
"""Whole seconds and the way of an event explain that much between the API's clock and ours."""
AFTER = "after the load"


def analyse(
    run: RunSummary, config: Benchmark, lines: Sequence[Timeline], load: LoadSeen, end_s: float
) -> ScalingSummary:
    """`end_s`: when the watch ended. Raises nothing for a run of any length: what cannot be said is None."""
    scaling = config.scaling
    assert scaling is not None
    target = config.objective.attainment if config.objective is not None else None
    legs = legs_of(run, config)
    slice_s = slice_of(load, end_s)
    found = shifts(legs)
    workloads = tuple(
        _workload(
            line, scaling, end_s, reactions(line, found, load, target, slice_s), scale_steps(line, end_s, load)
        )
        for line in lines
    )  # fmt: skip
    time = [replica_time(s.name or f"stage {s.index}", s.begin_s, s.end_s, lines) for s in run.stages]
    last_s = max((stage.end_s for stage in run.stages), default=0.0)
    if end_s - last_s > 0.5:
        time.append(replica_time(AFTER, last_s, end_s, lines))
    whole = replica_time("all", 0.0, end_s, lines)
    judged = good = short_s = None
    if target is not None:
        judged, good = round(sum(load.rows[JUDGED])), round(sum(load.rows[GOOD]))
        short_s = sum(b - a for a, b in short_slices(load, 0.0, end_s, target, slice_s))
    planned = bool(legs)
    return ScalingSummary(
        workloads, tuple(time), whole, _slices(lines, load, slice_s, end_s, target is not None),
        _efficiency(run, config, lines, load, legs, whole, slice_s, end_s),
        load_turns(found) if planned else None, judged, good, short_s,
        round(sum(load.rows[FAILED])), _notes(lines, run, whole),
    )  # fmt: skip


def legs_of(run: RunSummary, config: Benchmark) -> tuple[Leg, ...]:
    """The load as it was planned, as far as it was carried out; none of a trace, or of a search."""
    load = config.load
    if isinstance(load, ClosedLoop):
        return tuple(Leg(s.index, s.name, s.begin_s, s.end_s, s.intended, s.intended) for s in run.stages)
    if not isinstance(load, OpenLoop):
        return ()
    legs = []
    for plan, stage in zip(stages(load), run.stages, strict=False):
        last = plan.intended
        if plan.to is not None and plan.end_s is not None and plan.end_s > plan.begin_s:
            done = min(1.0, (stage.end_s - plan.begin_s) / (plan.end_s - plan.begin_s))
            last += (plan.to - plan.intended) * done
        legs.append(Leg(stage.index, stage.name, stage.begin_s, stage.end_s, plan.intended, last))
    return tuple(legs)


def slice_of(load: LoadSeen, end_s: float) -> float:
    """Seconds of a slice: whole slices of the load, and neither too many nor too short ones."""
    least_s = max(SHORTEST_SLICE_S, end_s / MOST_SLICES)
    return math.ceil(least_s / load.slice_s - 1e-9) * load.slice_s


def _workload(
    line: Timeline, scaling: Scaling, end_s: float, reacted: tuple[Reaction, ...], stepped: tuple[ScaleStep, ...]
) -> WorkloadScaling:
    shown = [hidden(steps, line.gaps) for steps in (line.desired, line.allocated, line.ready)]
    times = tuple(sorted({0.0, *(t for steps in shown for t in steps.times_s if 0 <= t <= end_s)}))
    desired, allocated, ready = ([steps.at(t) for t in times] for steps in shown)
    return WorkloadScaling(
        line.name, times, _whole(desired), tuple(allocated), _whole(ready), stepped, reacted, start_ups(line.lives),
        turns(line.desired, scaling.turn_s), line.lives, line.per_replica, line.gaps,
    )  # fmt: skip


def _whole(values: Sequence[float | None]) -> tuple[int | None, ...]:
    return tuple(None if value is None else round(value) for value in values)


def _slices(
    lines: Sequence[Timeline], load: LoadSeen, slice_s: float, end_s: float, has_objective: bool
) -> tuple[ScalingSlice, ...]:
    made = []
    shown = [[hidden(s, line.gaps) for s in (line.desired, line.allocated, line.ready)] for line in lines]
    for number in range(math.ceil(end_s / slice_s - 1e-9)):
        begin_s, until_s = number * slice_s, min(end_s, (number + 1) * slice_s)
        seconds = until_s - begin_s

        def count(row: int, begin_s: float = begin_s, until_s: float = until_s) -> float:
            return load.between(row, begin_s, until_s)

        desired, allocated, ready = (_sum([each[k].mean(begin_s, until_s) for each in shown]) for k in range(3))
        firsts = count(FIRSTS)
        made.append(
            ScalingSlice(
                begin_s, until_s, count(DUE) / seconds, desired, allocated, ready,
                round(count(JUDGED)) if has_objective else None, round(count(GOOD)) if has_objective else None,
                round(count(FAILED)), count(TOKENS) / seconds, count(TTFT) / firsts if firsts > 1e-6 else None,
            )
        )  # fmt: skip
    return tuple(made)


def _sum(values: Sequence[float | None]) -> float | None:
    """Of all; None where one is not known, or there are none."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _efficiency(
    run: RunSummary, config: Benchmark, lines: Sequence[Timeline], load: LoadSeen, legs: Sequence[Leg],
    whole: ReplicaTime, slice_s: float, end_s: float,
) -> Efficiency:  # fmt: skip
    accelerators = whole.allocated_accelerator_s
    unit = "replica" if accelerators is None else "accelerator"
    paid_s = whole.allocated_replica_s if accelerators is None else accelerators
    ready_s = whole.ready_replica_s if accelerators is None else whole.ready_accelerator_s or 0.0

    def weight(line: Timeline) -> float:
        return 1.0 if accelerators is None else line.per_replica or 0.0

    most = [(line.desired.most(0.0, end_s), weight(line)) for line in lines]
    fixed = _sum([None if peak is None else peak * per * end_s for peak, per in most])
    found = _carried(run, config, lines, load, legs, end_s)
    least_s = low_s = None
    if found.kept is not None and found.failed is not None:
        least_s = least_replica_s(load, legs, found.kept, slice_s, end_s) * weight(lines[0])
        low_s = least_replica_s(load, legs, found.failed, slice_s, end_s) * weight(lines[0])
    hours = paid_s / 3600
    good = sum(load.rows[GOOD]) if config.objective is not None else None
    price = _price(config) if unit == "accelerator" else None
    return Efficiency(
        unit, paid_s, ready_s, fixed, least_s, low_s, found.kept, found.failed, found.why,
        good / hours if good is not None and hours > 0 else None,
        sum(load.rows[TOKENS]) / hours if hours > 0 else None,
        None if price is None else hours * price.low, None if price is None else hours * price.high,
        "" if price is None else " ".join(word for word in (price.currency, f"({price.provenance})") if word),
    )  # fmt: skip


def _price(config: Benchmark) -> Price | None:
    """Of one accelerator for an hour."""
    assert config.scaling is not None
    own = config.scaling.price_per_hour
    if own is not None:
        return Price(own, own, "", "as configured: scaling.price_per_hour")
    return price_of(config.server) if config.server is not None else None


def _carried(
    run: RunSummary, config: Benchmark, lines: Sequence[Timeline], load: LoadSeen, legs: Sequence[Leg], end_s: float
) -> Carried:
    if len(lines) != 1:
        return Carried(
            None, None, f"{len(lines)} workloads carried the load together: what one replica did is not known"
        )
    if config.objective is None:
        return Carried(None, None, "there is no objective that it would have to keep: give one, e.g. objective.ttft_ms")
    line = lines[0]
    edges = edges_of(legs, [(stage.begin_s, stage.end_s) for stage in run.stages])
    ready = hidden(line.ready, line.gaps)
    found = stretches(load, ready, edges, config.objective.attainment, end_s)
    invalid = [(stage.begin_s, stage.end_s) for stage in run.stages if not stage.verdict.valid]
    # What a client that was too slow has measured says nothing of a replica.
    return carried(
        [
            stretch._replace(kept=None)
            if any(a < stretch.end_s and stretch.begin_s < b for a, b in invalid)
            else stretch
            for stretch in found
        ]
    )


def _notes(lines: Sequence[Timeline], run: RunSummary, whole: ReplicaTime) -> tuple[str, ...]:
    notes = []
    invalid = [stage.name or f"stage {stage.index}" for stage in run.stages if not stage.verdict.valid]
    if invalid:
        notes.append(
            f"scaling: {', '.join(invalid)} invalid: requests that were not good then may be the client's fault, and "
            "nothing is taken from it of what a replica carries; replicas and what they cost are as they were"
        )
    for line in lines:
        if line.gaps:
            seconds = sum(b - a for a, b in line.gaps)
            at = ", ".join(f"{a:.1f} to {b:.1f} s" for a, b in line.gaps[:3]) + (" …" if len(line.gaps) > 3 else "")
            notes.append(
                f"{line.name}: the API server did not answer for {seconds:.1f} s ({at}); what it wanted then is not "
                "known, and pods that were there before and after count as having been there"
            )
        if (apart := _apart(line.lives)) is not None and abs(apart) > CLOCK_S:
            notes.append(
                f"{line.name}: the API's clock is {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead of'} ours; "
                "what was not seen happening is placed by it"
            )
    if whole.allocated_accelerator_s is None:
        notes.append(
            "no pod is known to hold an accelerator, so replicas are counted alone: "
            "set scaling.accelerators_per_replica to count accelerators"
        )
    return tuple(notes)


def _apart(lives: Sequence[PodLife]) -> float | None:
    """How much later things are seen than the API says that they were; half a second is its whole seconds'."""
    apart = [
        seen - told - 0.5
        for life in lives
        for name in ("created", "scheduled", "ready")
        if (seen := getattr(life.seen, name)) is not None and (told := getattr(life.told, name)) is not None
    ]
    return median(apart) if apart else None


def with_scaling(run: RunSummary, scaling: ScalingSummary) -> RunSummary:
    """The run's summary with these figures; their notes are the run's too."""
    return msgspec.structs.replace(run, scaling=scaling, notes=(*run.notes, *scaling.notes))
