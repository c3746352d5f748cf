"""Two runs compared, stage by stage at equal load: what changed, whether by more than chance, and what is a regression.

A regression is a figure that is worse by more than the threshold and significantly so after correction for the number
of figures looked at. A figure that cannot be tested, as another tool's report has no intervals, counts by its size
alone: silence is not a pass. A percentile of too few requests is no estimate: it is told, and not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fairlead.bench.results.comparable import comparable
from fairlead.bench.results.grid import Grid, Stretch
from fairlead.bench.results.significance import ALPHA, TOO_FEW, Test, holm, of_blocks, of_intervals, of_rates, of_shares
from fairlead.bench.summary import Distribution, Metrics, RunSummary, StageSummary

Judgement = Literal["better", "worse", "same", "untested", "too few"]

LATENCIES = (
    ("ttft_from_due", 50.0), ("ttft_from_due", 99.0), ("ttft", 50.0), ("ttft", 99.0), ("itl", 50.0), ("itl", 99.0),
    ("tpot", 50.0), ("tpot", 99.0), ("e2e", 50.0), ("e2e", 99.0),
)  # fmt: skip
RATES = (
    ("requests/s", "1/s", "requests_per_s", "whole"),
    ("output tokens/s", "tokens/s", "output_tokens_per_s", "tokens"),
)
"""Figure, unit, field of the metrics, and of the grid what it counts."""
SAME_LOAD = 0.01
"""Stages are of equal load when what was intended differs by no more than this share."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one stage. `unit`: s, 1/s, tokens/s, or share (whose change is in points)."""

    stage: str
    figure: str
    unit: str
    base: float
    other: float
    test: Test
    p: float | None
    judgement: Judgement
    regressed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """`refusals`: why these runs cannot be compared (then there may be no changes)."""

    base: str
    other: str
    changes: tuple[Change, ...]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.regressed)


@dataclass(frozen=True, slots=True)
class Side:
    """A run and, where its records are kept, its grids by stage."""

    run: RunSummary
    grids: Mapping[int, Grid]


def compare(base: Side, other: Side, threshold: float, anyway: bool = False) -> Comparison:
    """`threshold`: a share (0.05: 5 %). `anyway`: compare what should not be, and say so."""
    fit = comparable(base.run, other.run)
    refusals, notes = list(fit.refusals), list(fit.notes)
    pairs: list[tuple[StageSummary, StageSummary]] = []
    if not refusals or anyway:
        pairs, unmatched = _pairs(base.run, other.run)
        notes += unmatched
        if not pairs:
            refusals.append("no stage of the one has the load of a stage of the other")
    if anyway and refusals and pairs:
        notes, refusals = [f"compared although: {refusal}" for refusal in refusals] + notes, []
    found: list[tuple[str, str, str, float, float, bool, Test]] = []
    for one, two in pairs:
        bad = [(r.id, s) for r, s in ((base.run, one), (other.run, two)) if not s.verdict.valid]
        said = [f"{_name(s)} of {run} is invalid: {'; '.join(s.verdict.reasons)}" for run, s in bad]
        if bad and not anyway:
            refusals += said
            continue
        notes += said
        found += _changes(one, two, base.grids.get(one.index), other.grids.get(two.index), fit.same_objective)
    corrected = holm([test.p for *_, test in found])
    changes = tuple(_judged(f, p, threshold) for f, p in zip(found, corrected, strict=True))
    return Comparison(base.run.id, other.run.id, changes, tuple(refusals), tuple(notes))


def stretches(run: RunSummary) -> list[Stretch]:
    """The parts of each stage that count: without warm-up and cool-down."""
    cut = run.config.get("cut")
    warm_s, cool_s = (float(cut.get(f, 0.0)) for f in ("warm_up_s", "cool_down_s")) if isinstance(cut, dict) else (0, 0)
    return [Stretch(s.index, s.begin_s + warm_s, max(s.begin_s + warm_s, s.end_s - cool_s)) for s in run.stages]


def _pairs(base: RunSummary, other: RunSummary) -> tuple[list[tuple[StageSummary, StageSummary]], list[str]]:
    rest = list(other.stages)
    pairs, unmatched = [], []
    for stage in base.stages:
        match = next((s for s in rest if _equal_load(stage, s)), None)
        if match is None:
            unmatched.append(f"{_name(stage)} of {base.id} has no stage of that load in {other.id}")
            continue
        rest.remove(match)
        pairs.append((stage, match))
    return pairs, unmatched + [f"{_name(s)} of {other.id} has no stage of that load in {base.id}" for s in rest]


def _equal_load(one: StageSummary, two: StageSummary) -> bool:
    if one.of != two.of:
        return False
    if one.of == "trace" or one.intended != one.intended:
        return one.index == two.index
    return abs(one.intended - two.intended) <= SAME_LOAD * max(one.intended, two.intended)


def _name(stage: StageSummary) -> str:
    return stage.name or f"stage {stage.index}"


def _changes(
    one: StageSummary, two: StageSummary, base: Grid | None, other: Grid | None, same_objective: bool
) -> list[tuple[str, str, str, float, float, bool, Test]]:
    """Stage, figure, unit, both values, whether more is better, test."""
    name, a, b = _name(one), one.metrics, two.metrics
    found: list[tuple[str, str, str, float, float, bool, Test]] = []
    for metric, percentile in LATENCIES:
        left, right = _distribution(a, metric), _distribution(b, metric)
        if left is None or right is None:
            continue
        by_summary = of_intervals(percentile, left, right)
        if by_summary is None:
            continue
        by_blocks = None
        if base is not None and other is not None and by_summary.basis != TOO_FEW:
            by_blocks = of_blocks(metric, percentile / 100, base, other)
        values = left.percentiles[percentile], right.percentiles[percentile]
        found.append((name, f"{metric} p{percentile:g}", "s", *values, False, by_blocks or by_summary))
    found += _rates(name, a, b, base, other)
    failed = of_shares((a.requests - a.whole, a.requests), (b.requests - b.whole, b.requests))
    if failed is not None:
        found.append((name, "failed", "share", 1 - a.whole / a.requests, 1 - b.whole / b.requests, False, failed))
    if same_objective and a.goodput is not None and b.goodput is not None:
        good = of_shares((a.goodput.good, a.goodput.judged), (b.goodput.good, b.goodput.judged))
        if good is not None:
            found.append((name, "attainment", "share", a.goodput.attainment, b.goodput.attainment, True, good))
    return found


def _rates(
    name: str, a: Metrics, b: Metrics, base: Grid | None, other: Grid | None
) -> list[tuple[str, str, str, float, float, bool, Test]]:
    found: list[tuple[str, str, str, float, float, bool, Test]] = []
    for figure, unit, field, counts in RATES:
        left, right = getattr(a, field), getattr(b, field)
        if not (left > 0 and right > 0):
            continue
        test = None
        if base is not None and other is not None:
            test = of_rates(getattr(base, counts) / base.block_s, getattr(other, counts) / other.block_s)
        test = test or Test(right / left - 1, None, None, None, None, "no records")
        found.append((name, figure, unit, left, right, True, test))
    return found


def _distribution(metrics: Metrics, name: str) -> Distribution | None:
    found: Distribution | None = getattr(metrics, name)
    return found


def _judged(found: tuple[str, str, str, float, float, bool, Test], p: float | None, threshold: float) -> Change:
    name, figure, unit, base, other, more_is_better, test = found
    worse = test.change < 0 if more_is_better else test.change > 0
    beyond = abs(test.change) > threshold
    if test.basis == TOO_FEW:
        judgement: Judgement = "too few"
    elif p is None:
        judgement = "untested"
    elif p < ALPHA:
        judgement = "worse" if worse else "better"
    else:
        judgement = "same"
    regressed = worse and beyond and judgement in ("worse", "untested")
    return Change(name, figure, unit, base, other, test, p, judgement, regressed)
