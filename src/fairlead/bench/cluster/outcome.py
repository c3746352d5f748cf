"""What a run came to, small enough for a pod's termination message. Pure.

A pod tells its end in at most 4,096 bytes (core/v1 `terminationMessagePath`), which the controller reads from the pod's
status: the pod needs no rights for that. What is too long is shortened, and says so; all figures are in the summary.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.api.benchmark import MAX_STAGES, BenchmarkSearch, BenchmarkShown, BenchmarkStage
from fairlead.api.kind import Kind
from fairlead.bench.summary import Distribution, RunSummary, StageSummary

MOST_BYTES = 4000
_LONGER, _LONG, _SHORT = 800, 200, 60
_NOTES = 8


class Outcome(Kind, tag_field="outcome", tag="fairlead"):
    """How a run ended: `ended` as its summary says, or failed where there is none (`run` is empty then). `kept`:
    whether the objective was; None where there is none, or it cannot be told."""

    ended: str
    why: str = ""
    run: str = ""
    valid: bool = False
    kept: bool | None = None
    stages: list[BenchmarkStage] = []
    omitted: int = 0
    search: BenchmarkSearch | None = None
    shown: BenchmarkShown | None = None
    notes: list[str] = []
    results: str = ""
    problem: str = ""
    """Why results are not where they were to be."""


def outcome_of(summary: RunSummary, results: str = "", problem: str = "") -> Outcome:
    """Of a run that has a summary."""
    stages = [_stage(stage) for stage in summary.stages]
    search = summary.search
    return Outcome(
        summary.ended,
        _cut(summary.why_ended, _LONG),
        summary.id,
        summary.valid,
        objective_kept(summary),
        stages[:MAX_STAGES],
        max(0, len(stages) - MAX_STAGES),
        None
        if search is None
        else BenchmarkSearch(search.of, search.best, search.failed, _cut(search.why_ended, _LONG)),
        _shown(summary),
        [_cut(note, _LONG) for note in summary.notes[:_NOTES]],
        results,
        _cut(problem, _LONG),
    )


def objective_kept(summary: RunSummary) -> bool | None:
    """Whether a load that was tried kept the objective (a search), or all stages did; None: it cannot be told."""
    if summary.search is not None:
        return summary.search.best is not None
    judged = [stage.metrics.goodput.kept for stage in summary.stages if stage.metrics.goodput is not None]
    if not judged or (None in judged and False not in judged):
        return None
    return False not in judged


def encode(outcome: Outcome) -> bytes:
    """As JSON of at most MOST_BYTES: words are shortened first, then notes go, then the last stages."""
    data = msgspec.json.encode(outcome)
    if len(data) > MOST_BYTES:
        outcome = msgspec.structs.replace(
            outcome,
            why=_cut(outcome.why, _LONG if outcome.stages else _LONGER),
            stages=[msgspec.structs.replace(stage, why=_cut(stage.why, _SHORT)) for stage in outcome.stages],
            notes=[_cut(note, _SHORT) for note in outcome.notes[:3]],
        )
        data = msgspec.json.encode(outcome)
    while len(data) > MOST_BYTES and (outcome.notes or outcome.stages):
        if outcome.notes:
            outcome = msgspec.structs.replace(outcome, notes=[])
        else:
            outcome = msgspec.structs.replace(outcome, stages=outcome.stages[:-1], omitted=outcome.omitted + 1)
        data = msgspec.json.encode(outcome)
    if len(data) > MOST_BYTES:
        data = msgspec.json.encode(
            msgspec.structs.replace(outcome, why=_cut(outcome.why, _SHORT), problem=_cut(outcome.problem, _SHORT))
        )
    return data


def decode(message: str) -> Outcome | None:
    """Of a pod's termination message; None where it is something else."""
    try:
        return msgspec.json.decode(message.encode(), type=Outcome)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def _stage(stage: StageSummary) -> BenchmarkStage:
    metrics, goodput = stage.metrics, stage.metrics.goodput
    return BenchmarkStage(
        stage.index,
        stage.verdict.valid,
        name=_cut(stage.name, _SHORT),
        of=stage.of,
        intended=_plain(stage.intended),
        requests=metrics.requests,
        failed=metrics.requests - metrics.whole,
        requests_per_second=_plain(metrics.requests_per_s),
        output_tokens_per_second=_plain(metrics.output_tokens_per_s),
        ttft_p50_ms=_ms(metrics.ttft, 50.0),
        ttft_p99_ms=_ms(metrics.ttft, 99.0),
        itl_p99_ms=_ms(metrics.itl, 99.0),
        e2e_p99_ms=_ms(metrics.e2e, 99.0),
        attainment=None if goodput is None else _plain(goodput.attainment),
        goodput=None if goodput is None else _plain(goodput.requests_per_s),
        why="" if stage.verdict.valid else _cut(next(iter(stage.verdict.reasons), ""), _LONG),
    )


def _shown(summary: RunSummary) -> BenchmarkShown | None:
    chosen = _chosen(summary)
    if chosen is None:
        return None
    goodput, ttft = chosen.metrics.goodput, _ms(chosen.metrics.ttft, 99.0)
    return BenchmarkShown(
        f"{chosen.metrics.requests_per_s:.3g}/s",
        "" if ttft is None else f"{ttft:.3g} ms" if ttft < 1000 else f"{ttft / 1e3:.3g} s",
        "" if goodput is None else f"{goodput.requests_per_s:.3g}/s ({goodput.attainment:.1%})",
    )


def _chosen(summary: RunSummary) -> StageSummary | None:
    """The stage whose figures are told in a line."""
    stages = summary.stages
    if summary.search is not None and summary.search.best is not None:
        best = {step.stage for step in summary.search.steps if step.load == summary.search.best}
        if tried := [stage for stage in stages if stage.index in best]:
            return tried[-1]
    return max(stages, key=lambda stage: stage.metrics.requests_per_s, default=None)


def _ms(distribution: Distribution | None, percentile: float) -> float | None:
    value = None if distribution is None else distribution.percentiles.get(percentile)
    return None if value is None else _plain(value * 1e3)


def _plain(value: float) -> float:
    """With as many digits as say something."""
    return float(f"{value:.5g}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def to_json(part: Any) -> Any:
    """A part of a status as an API server takes it."""
    return msgspec.to_builtins(part)
