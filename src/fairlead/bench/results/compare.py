"""Two runs compared, stage by stage at equal load: what changed, whether by more than chance, and what is a regression.

A regression is a figure that is worse by more than the threshold and significantly so after correction for the number
of figures looked at. A figure that cannot be tested, as another tool's report has no intervals, counts by its size
alone: silence is not a pass. A percentile of too few requests is no estimate: it is told, and not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fairlead.bench.results.capacity import BASIS, apart, capacity
from fairlead.bench.results.changes import Figure, Unit, changes
from fairlead.bench.results.comparable import comparable
from fairlead.bench.results.grid import Grid
from fairlead.bench.results.pairs import Pair, stage_name, stage_pairs
from fairlead.bench.results.scaling_changes import scaling_changes
from fairlead.bench.results.significance import ALPHA, TOO_FEW, TOO_SHORT, Test, holm
from fairlead.bench.summary import RunSummary

Judgement = Literal["better", "worse", "same", "untested", "too few"]
COMPARE_BLOCKS = 24
"""Of each stage: enough to see how much they differ, and long enough to hardly depend on each other."""


@dataclass(frozen=True, slots=True)
class Worse:
    """By how much a figure may be worse: shares (0.05: 5 %, or 5 points), by the beginning of its name or stage and
    name, else `share`."""

    share: float = 0.05
    of: Mapping[str, float] = field(default_factory=dict)

    def of_figure(self, name: str) -> float:
        named = [key for key in self.of if name.startswith(key)]
        return self.of[max(named, key=len)] if named else self.share


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one stage. `unit`: s, 1/s, tokens/s, users, or share (whose change is in points)."""

    stage: str
    figure: str
    unit: Unit
    base: float
    other: float
    test: Test
    p: float | None
    judgement: Judgement
    regressed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """`refusals`: why these runs cannot be compared (then there may be no changes). `pairs`: indexes of the stages that
    were compared. `worse`: what counted as a regression."""

    base: str
    other: str
    changes: tuple[Change, ...]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    worse: Worse = Worse()

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.regressed)


@dataclass(frozen=True, slots=True)
class Side:
    """A run and, where its records are kept, its grids by stage, of `COMPARE_BLOCKS` blocks."""

    run: RunSummary
    grids: Mapping[int, Grid]


def compare(base: Side, other: Side, worse: Worse | float = 0.05, anyway: bool = False) -> Comparison:
    """`worse`: what may be. `anyway`: compare what should not be, and say so."""
    limits = worse if isinstance(worse, Worse) else Worse(worse)
    fit = comparable(base.run, other.run)
    refusals, notes = list(fit.refusals), list(fit.notes)
    found: list[Figure] = []
    used: list[Pair] = []
    if not refusals or anyway:
        searches, said = capacity(base.run, other.run)
        notes += said
        pairs, unmatched = ([], []) if _are_searches(base.run, other.run) else stage_pairs(base.run, other.run)
        notes += unmatched
        if not pairs and not searches:
            refusals.append("no stage of the one has the load of a stage of the other")
        if anyway and refusals and (pairs or searches):
            notes, refusals = [f"compared although: {refusal}" for refusal in refusals] + notes, []
        found += searches
        for pair in pairs:
            invalid = _invalid(base.run, other.run, pair)
            if invalid and not anyway:
                refusals += invalid
                continue
            notes += invalid
            used.append(pair)
    for one, two in used:
        grids = base.grids.get(one.index), other.grids.get(two.index)
        found += changes(stage_name(one), one.metrics, two.metrics, *grids, fit.same_objective)
    found += scaling_changes(base.run, other.run) if used else []
    corrected = holm([figure.test.p for figure in found])
    judged = tuple(_judged(f, p, limits) for f, p in zip(found, corrected, strict=True))
    indexes = tuple((one.index, two.index) for one, two in used)
    return Comparison(base.run.id, other.run.id, judged, tuple(refusals), tuple(notes), indexes, limits)


def _are_searches(base: RunSummary, other: RunSummary) -> bool:
    """Each step of a search is as long as it takes to decide it, and no two searches have the same ones."""
    return base.search is not None and other.search is not None


def _invalid(base: RunSummary, other: RunSummary, pair: Pair) -> list[str]:
    return [
        f"{stage_name(stage)} of {run.id} is invalid: {'; '.join(stage.verdict.reasons)}"
        for run, stage in zip((base, other), pair, strict=True)
        if not stage.verdict.valid
    ]


def _judged(figure: Figure, p: float | None, limits: Worse) -> Change:
    test = figure.test
    worse = test.change < 0 if figure.more_is_better else test.change > 0
    beyond = abs(test.change) > limits.of_figure(figure.name)
    judgement: Judgement
    if test.basis in (TOO_FEW, TOO_SHORT):
        judgement = "too few"
    elif test.basis == BASIS:
        judgement = "same" if not apart(test) else "worse" if worse else "better"
    elif p is None:
        judgement = "untested"
    elif p < ALPHA:
        judgement = "worse" if worse else "better"
    else:
        judgement = "same"
    regressed = worse and beyond and judgement in ("worse", "untested")
    return Change(figure.stage, figure.name, figure.unit, figure.base, figure.other, test, p, judgement, regressed)
