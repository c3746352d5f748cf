"""Which stages of two runs are compared with each other: those that were to have the same load."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.bench.summary import RunSummary, StageSummary

SAME_LOAD = 0.01
"""Loads are equal when what was intended differs by no more than this share."""

Pair = tuple[StageSummary, StageSummary]


def stage_pairs(base: RunSummary, other: RunSummary) -> tuple[list[Pair], list[str]]:
    """Pairs in the order of `base`, and what is said of stages that have no partner. Of several stages with the load
    those are partners that are nearest in load and then in place."""
    rest = list(other.stages)
    pairs: list[Pair] = []
    alone: list[StageSummary] = []
    for stage in base.stages:
        equal = [s for s in rest if _equal_load(base, stage, other, s)]
        if not equal:
            alone.append(stage)
            continue
        match = min(equal, key=lambda s: (_apart(stage, s), abs(s.index - stage.index)))
        rest.remove(match)
        pairs.append((stage, match))
    notes = [
        _said(run, stages, against) for run, stages, against in ((base, alone, other), (other, rest, base)) if stages
    ]
    return pairs, notes


def stage_name(stage: StageSummary) -> str:
    return stage.name or f"stage {stage.index}"


def _said(run: RunSummary, stages: list[StageSummary], against: RunSummary) -> str:
    names = ", ".join(stage_name(stage) for stage in stages[:8]) + (", …" if len(stages) > 8 else "")
    return f"{against.id} has no stage with the load of {names} of {run.id}: not compared"


def _equal_load(base: RunSummary, one: StageSummary, other: RunSummary, two: StageSummary) -> bool:
    if one.of != two.of:
        return False
    if one.intended != one.intended or two.intended != two.intended:
        return one.index == two.index
    ends = [_end_of_ramp(base, one), _end_of_ramp(other, two)]
    return _same(one.intended, two.intended) and _same(*ends)


def _apart(one: StageSummary, two: StageSummary) -> float:
    return 0.0 if one.intended != one.intended else abs(one.intended - two.intended)


def _same(one: float, two: float) -> bool:
    return abs(one - two) <= SAME_LOAD * max(one, two)


def _end_of_ramp(run: RunSummary, stage: StageSummary) -> float:
    """The rate that a stage ends with, where that is another one."""
    load = run.config.get("load")
    given = load.get("stages") if isinstance(load, Mapping) and load.get("kind") == "open" else None
    if isinstance(given, list | tuple) and 0 <= stage.index < len(given):
        to = given[stage.index].get("to_rate_per_s")
        if isinstance(to, int | float):
            return float(to)
    return stage.intended
