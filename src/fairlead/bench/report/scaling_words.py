"""What scaled during a run, in words: tables and sentences that the terminal and the page both show."""

from __future__ import annotations

from typing import NamedTuple

from fairlead.bench.report.words import ABSENT, number, seconds, share
from fairlead.bench.scaling_summary import Reaction, ReplicaTime, ScaleStep, ScalingSummary, StartUp, WorkloadScaling

HOUR_S = 3600.0


class ScalingTable(NamedTuple):
    """`head[0]` is the name of the rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def unit_time(unit_s: float | None, unit: str) -> str:
    """Accelerator-seconds, or hours where there are some."""
    if unit_s is None:
        return ABSENT
    return f"{number(unit_s / HOUR_S)} {unit}-h" if unit_s >= HOUR_S else f"{number(unit_s)} {unit}-s"


def scaling_tables(found: ScalingSummary) -> list[ScalingTable]:
    """Those that have something to say."""
    many = len(found.workloads) > 1
    unit = found.efficiency.unit
    in_hours = found.efficiency.paid_s >= HOUR_S
    unit_name = f"{unit}-{'h' if in_hours else 's'}"
    tables = [
        ScalingTable(
            "replicas by stage (means), and what they came to",
            ("stage", "wanted", "on nodes", "ready", f"{unit_name} wanted", "paid for", "ready"),
            tuple(_stage(time, unit, HOUR_S if in_hours else 1.0) for time in (*found.time, found.all)),
        )
    ]
    for workload in found.workloads:
        of = f" of {workload.name}" if many else ""
        tables += [
            ScalingTable(
                f"reactions{of} to a rise of the load: after how long more were wanted, one more was ready, its first "
                "token, all were ready",
                ("stage", "replicas", "wanted", "ready", "token", "all", "not good", "short", "good again"),
                tuple(_reaction(reaction) for reaction in workload.reactions),
            ),
            ScalingTable(
                f"steps of the wanted number{of}, by how long after each",
                ("step", "at", "on nodes", "ready", "gone", "failed meanwhile"),
                tuple(_step(step) for step in workload.steps),
            ),
            ScalingTable(
                f"pods{of} from creation on",
                ("until", "pods", "median", "longest"),
                tuple(_start(start) for start in workload.starts),
            ),
        ]  # fmt: skip
    return [table for table in tables if table.rows]


def scaling_lines(found: ScalingSummary) -> list[str]:
    """A sentence each: what was paid, against what, what it served, whether it turned to and fro."""
    of = found.efficiency
    lines = []
    paid = f"paid for {unit_time(of.paid_s, of.unit)}"
    if of.paid_s > 0:
        paid += f", of which {share(round(of.ready_s / of.paid_s, 3))} ready"
    if of.cost is not None:
        high = f" to {number(of.cost_high)}" if of.cost_high is not None and of.cost_high > of.cost else ""
        paid += f"; cost {number(of.cost)}{high} {of.price}"
    lines.append(paid)
    if of.fixed_s:
        lines.append(
            f"a fixed fleet of the highest number wanted: {unit_time(of.fixed_s, of.unit)}; "
            f"this one took {share(round(of.paid_s / of.fixed_s, 3))} of it"
        )
    if of.least_s is not None:
        carried = f"a replica carried {number(of.carried_per_s)}/s, and not {number(of.failed_per_s)}/s"
        lines.append(
            f"enough to keep the objective: {unit_time(of.least_s, of.unit)}, and no less than "
            f"{unit_time(of.least_low_s, of.unit)} ({carried})"
        )
    elif of.why_no_least:
        lines.append(f"the least that would have kept the objective is not known: {of.why_no_least}")
    if of.good_requests_per_unit_hour is not None:
        lines.append(f"{number(of.good_requests_per_unit_hour)} good requests in an hour of one {of.unit}")
    if of.output_tokens_per_unit_hour is not None:
        lines.append(f"{number(of.output_tokens_per_unit_hour)} output tokens in an hour of one {of.unit}")
    if found.judged:
        lost = found.judged - (found.good or 0)
        lines.append(
            f"{number(lost)} of {number(found.judged)} requests did not keep the objective "
            f"({share(round(lost / found.judged, 4))}); too few did for {_span(found.short_s)}"
        )
    lines.append(f"{number(found.failed)} requests failed")
    lines += [_turned(workload, found.load_turns) for workload in found.workloads]
    return lines


def _turned(workload: WorkloadScaling, load_turns: int | None) -> str:
    load = "" if load_turns is None else f" (the load itself: {load_turns})"
    return f"{workload.name}: {len(workload.steps)} steps, turns to and fro: {workload.turns}{load}"


def _stage(of: ReplicaTime, unit: str, scale_s: float) -> tuple[str, ...]:
    length = max(1e-9, of.end_s - of.begin_s)
    known = max(1e-9, length - of.unknown_s)
    wanted_s, paid_s, ready_s = (
        (of.desired_replica_s, of.allocated_replica_s, of.ready_replica_s)
        if unit == "replica"
        else (of.desired_accelerator_s, of.allocated_accelerator_s, of.ready_accelerator_s)
    )
    wanted = ABSENT if of.unknown_s >= length - 1e-6 else number(round(of.desired_replica_s / known, 2))
    return (
        of.name, wanted, number(round(of.allocated_replica_s / length, 2)),
        number(round(of.ready_replica_s / length, 2)),
        *(ABSENT if value is None else number(value / scale_s) for value in (wanted_s, paid_s, ready_s)),
    )  # fmt: skip


def _reaction(of: Reaction) -> tuple[str, ...]:
    def after(moment_s: float | None) -> str:
        return ABSENT if moment_s is None else seconds(moment_s - of.rise_s)

    good_again = "at once" if of.lost is not None and not of.short_s else after(of.recovered_s)
    lost = ABSENT if of.lost is None or of.judged is None else f"{number(of.lost)}/{number(of.judged)}"
    return (
        of.name, _replicas(of.before, of.after), after(of.desired_s), after(of.first_ready_s),
        after(of.first_token_s), after(of.ready_s), lost,
        _span(of.short_s), good_again,
    )  # fmt: skip


def _step(of: ScaleStep) -> tuple[str, ...]:
    def after(moment_s: float | None, is_asked: bool) -> str:
        if moment_s is not None:
            return seconds(moment_s - of.at_s)
        return "overtaken" if is_asked and of.overtaken else "not yet" if is_asked else ""

    up = of.after > of.before
    return (
        _replicas(of.before, of.after), seconds(of.at_s), after(of.scheduled_s, up), after(of.ready_s, up),
        after(of.gone_s, not up), number(of.failed),
    )  # fmt: skip


def _span(value: float | None) -> str:
    return "0 s" if value == 0 else seconds(value)


def _start(of: StartUp) -> tuple[str, ...]:
    until = "first token" if of.to == "served" else of.to
    return until, number(of.count), seconds(of.median_s), seconds(of.longest_s)


def _replicas(before: int | None, after: int | None) -> str:
    one, two = (ABSENT if count is None else str(count) for count in (before, after))
    return one if one == two else f"{one} → {two}"
