"""What a stage's figures are to be read with, as lines for every report: what makes them differ from what they seem to
say, whose token counts they are, and whether the stage stood still."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fairlead.bench.report.words import number, seconds, share, stage_name
from fairlead.bench.summary import Answers, Drift, Metrics, RunSummary, StageSummary

TOKENS = {
    "server": "by the server's usage",
    "mixed": "by the server's usage where it says so, else counted from the events",
    "unknown": "the report does not say by whom they were counted",
    "chunks": "counted from the events, as the server does not say: an event may hold several tokens",
}


class Fact(NamedTuple):
    """`name`, how much of it there was, and what it does to the figures."""

    name: str
    value: str
    says: str


class Grouped(NamedTuple):
    """One note, and the stages that it is of."""

    stages: tuple[str, ...]
    text: str


def facts(stage: StageSummary) -> list[Fact]:
    """Of one stage; only what there was, but for token counts and the stage's course, which are always told."""
    metrics = stage.metrics
    found = [*_of_answers(metrics, metrics.answers), *_of_bounds(metrics)]
    if metrics.whole:
        found.append(Fact("tokens", metrics.counted_by, TOKENS.get(metrics.counted_by, "")))
    return [*found, _course(stage.drift)]


def notes(run: RunSummary) -> list[Grouped]:
    """Of all stages: what is said of several of them in the same words is said once."""
    by_text: dict[str, list[str]] = {}
    for stage in run.stages:
        for text in stage.verdict.notes:
            by_text.setdefault(text, []).append(stage_name(stage))
    return [Grouped(tuple(stages), text) for text, stages in by_text.items()]


def best_stage(run: RunSummary) -> tuple[StageSummary, str] | None:
    """The stage that stands for a run, and why: what a search has found; the highest load that kept the objective;
    without an objective the highest throughput of those that were not saturated. None where no stage is valid."""
    valid = [stage for stage in run.stages if stage.verdict.valid and stage.metrics.whole]
    if not valid:
        return None
    if run.search is not None and run.search.best is not None:
        found = [s for s in valid if s.intended == run.search.best]
        if found:
            return found[-1], f"the highest {run.search.of} that kept the objective"
    kept = [s for s in valid if s.metrics.goodput is not None and s.metrics.goodput.kept]
    if kept:
        return max(kept, key=lambda s: s.metrics.requests_per_s), "the highest load that kept the objective"
    standing = [s for s in valid if s.drift is None or not s.drift.saturated] or valid
    said = "no load kept the objective for certain" if any(s.metrics.goodput for s in valid) else "the most throughput"
    return max(standing, key=lambda s: s.metrics.output_tokens_per_s or s.metrics.requests_per_s), said


def _of_answers(metrics: Metrics, answers: Answers) -> Iterable[Fact]:
    whole, all_of = metrics.whole, metrics.requests

    def fact(name: str, count: int, of: int, says: str) -> list[Fact]:
        part = f" ({share(round(count / of, 4))})" if of else ""
        return [Fact(name, f"{number(count)}{part}", says)] if count else []

    yield from fact("never sent", answers.unsent, all_of, "due, and not sent as the run ended")
    yield from fact("held", answers.held, all_of, "due, and not let go at once by the load's own limit")
    yield from fact(
        "not ended", answers.unended, all_of, "timed out, aborted or lost: other latencies are those of survivors"
    )
    yield from fact("ended late", answers.ended_late, all_of, "after the stage that they were due in")
    yield from fact("sent twice", answers.retried, all_of, "the server closed a kept connection under them")
    yield from fact("shorter", answers.shorter, whole, "fewer tokens than were asked for: a lighter load than planned")
    yield from fact("longer", answers.longer, whole, "more tokens than were asked for: a heavier load than planned")
    yield from fact("miscounted", answers.miscounted, whole, "the server counts other tokens than its events have")
    yield from fact("repeated", answers.repeated, whole, "more tokens came than the server counts: some came twice")
    yield from fact("uncounted", answers.uncounted, whole, "the server did not count their tokens")
    yield from fact("unfinished sessions", answers.unfinished, 0, "had turns left when the stage, or the run, was over")
    gaps = metrics.itl.count if metrics.itl is not None else 0
    yield from fact(
        "merged events", answers.merged_events, answers.merged_events + gaps, "read at once: no gap of their own in ITL"
    )
    if answers.chunk_tokens is not None and answers.chunk_tokens > 1.005:
        yield Fact("tokens an event", number(answers.chunk_tokens), "ITL is between events, TPOT is per token")
    if answers.prompt_error:
        said = "the server's prompt tokens against the planned ones; the server's are used"
        yield Fact("prompt tokens", f"{answers.prompt_error:+.2%}", said)
    if answers.backoff_s:
        yield Fact(
            "paused", seconds(answers.backoff_s), "by users after failures, in all: less load than was asked for"
        )


def _of_bounds(metrics: Metrics) -> Iterable[Fact]:
    shown = metrics.ttft_from_due or metrics.e2e_from_due
    if shown is not None and shown.independent is not None and shown.independent < 0.9 * shown.count:
        said = "so many independent requests tell as much as these: intervals are that much wider"
        yield Fact("tells as much as", f"{number(round(shown.independent))} of {number(shown.count)}", said)


def _course(drift: Drift | None) -> Fact:
    if drift is None:
        return Fact("course", "unknown", "too short, or too few requests, to tell whether the stage stood still")
    trends_of = (
        ("TTFT", drift.ttft_slope, " s/s", drift.ttft_p), ("in flight", drift.in_flight_slope, "/s", drift.in_flight_p),
    )  # fmt: skip
    slopes = [
        f"{what} {slope:+.2g}{unit} (p = {p:.2g})"
        for what, slope, unit, p in trends_of
        if slope is not None and p is not None
    ]
    trends = ", ".join(slopes)
    if drift.saturated:
        return Fact("course", "SATURATED", f"a queue grew all the time, figures depend on how long it was: {trends}")
    if not drift.stationary:
        return Fact("course", "not steady", f"figures depend on when one looks: {trends}")
    return Fact("course", "steady", trends)
