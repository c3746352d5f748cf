"""The status of a Benchmark from what is seen of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairlead.api.benchmark import Benchmark, BenchmarkStatus
from fairlead.api.kind import Condition
from fairlead.bench.cluster.outcome import Outcome
from fairlead.bench.cluster.seen import Standing, troubles

_MESSAGE = 1000


class Problem(msgspec.Struct, frozen=True):
    """Why it is not begun: `reason` as one word, `message` with field, value and remedy."""

    reason: str
    message: str


class Begun(msgspec.Struct, frozen=True):
    """A Job that was made for it."""

    job: str
    uid: str
    workers: int
    digest: str
    is_current: bool = True
    """Whether it was made for the configuration that is there by now."""


def compute_status(
    benchmark: Benchmark, at: str, *, problem: Problem | None = None, begun: Begun | None = None,
    standing: Standing | None = None, outcome: Outcome | None = None,
) -> BenchmarkStatus:  # fmt: skip
    """`at`: the time, RFC 3339. `problem`: it is not begun. `begun`, `standing`: its Job. `outcome`: it is over."""
    before = benchmark.status
    status = msgspec.structs.replace(before, observed_generation=benchmark.generation, conditions=[])
    if begun is not None:
        status.job, status.job_uid, status.workers = begun.job, begun.uid, begun.workers
        status.config_digest, status.start_time = begun.digest, before.start_time or at
    coordinator = standing.coordinator if standing is not None else None
    if coordinator is not None:
        status.coordinator = coordinator.name
    if outcome is not None:
        _tell(status, benchmark, outcome, at)
    is_up = standing is not None and standing.is_up(status.workers)
    told = [
        _accepted(problem, begun),
        _running(benchmark, problem, standing, outcome, is_up, status.workers),
        *_ended(outcome),
    ]
    if begun is not None and not begun.is_current:
        message = (
            "config was changed after the run had begun, and the figures are of the one before: delete this "
            "benchmark and make it anew"
        )
        told.append(Condition("Current", "False", "ConfigChanged", message))
    status.state = _state(benchmark, problem, standing, outcome, is_up)
    status.message = _message(told)
    status.conditions = [_stamped(c, before.conditions, at, benchmark.generation) for c in told]
    return status


def _tell(status: BenchmarkStatus, benchmark: Benchmark, outcome: Outcome, at: str) -> None:
    status.completion_time = status.completion_time or at
    status.run, status.ended, status.results = outcome.run, outcome.ended, outcome.results
    if outcome.results and (claim := benchmark.spec.results.claim):
        status.results = f"claim {claim}, folder {outcome.results.rpartition('/')[2]}"
    status.stages, status.stages_omitted, status.search = outcome.stages, outcome.omitted, outcome.search
    status.shown, status.notes = outcome.shown, outcome.notes


def _state(
    benchmark: Benchmark, problem: Problem | None, standing: Standing | None, outcome: Outcome | None, is_up: bool
) -> str:
    if outcome is not None:
        if outcome.ended == "complete":
            return "Complete" if outcome.valid else "Invalid"
        return "Interrupted" if outcome.ended == "interrupted" else "Failed"
    if problem is not None:
        return "Refused"
    if standing is None:
        return "Suspended" if benchmark.spec.suspend else "Starting"
    if benchmark.spec.stop:
        return "Ending"
    return "Running" if is_up else "Starting"


def _accepted(problem: Problem | None, begun: Begun | None) -> Condition:
    if problem is not None and begun is None:
        return Condition("Accepted", "False", problem.reason, _cut(problem.message))
    return Condition("Accepted", "True", "Read", "its configuration makes sense")


def _running(
    benchmark: Benchmark,
    problem: Problem | None,
    standing: Standing | None,
    outcome: Outcome | None,
    is_up: bool,
    workers: int,
) -> Condition:
    if outcome is not None:
        return Condition("Running", "False", "Finished", "it is over")
    if standing is None:
        if problem is not None:
            return Condition("Running", "False", problem.reason, "it cannot be begun, see Accepted")
        if benchmark.spec.suspend:
            return Condition("Running", "False", "Suspended", "spec.suspend is true")
        return Condition("Running", "False", "Starting", "its pods are about to be made")
    up = sum(pod.is_up for pod in standing.pods)
    message = "; ".join([f"{up} of {workers + 1} pods run", *troubles(standing.pods)])
    return Condition("Running", "True" if is_up else "False", "Running" if is_up else "Starting", _cut(message))


def _ended(outcome: Outcome | None) -> Sequence[Condition]:
    if outcome is None:
        going = ("Unknown", "NotFinished", "it is not over yet")
        return [
            Condition("Finished", "False", "NotFinished", "it is not over yet"),
            Condition("Valid", *going),
            Condition("ObjectiveKept", *going),
        ]
    is_complete = outcome.ended == "complete"
    reason = outcome.ended.capitalize()
    message = outcome.why or ("the whole load was sent" if is_complete else "")
    if outcome.problem:
        message = f"{message}; {outcome.problem}"
    result = "Complete" if is_complete else "Failed"
    return [
        Condition("Finished", "True", reason, _cut(message)),
        Condition(result, "True", reason, _cut(message)),
        _valid(outcome),
        _kept(outcome),
    ]


def _valid(outcome: Outcome) -> Condition:
    if outcome.valid:
        return Condition("Valid", "True", "ClientKeptUp", "the client kept its limits in every stage")
    if not outcome.run:
        return Condition("Valid", "False", "NoFigures", "there are no figures")
    bad = [stage for stage in outcome.stages if not stage.valid]
    if bad:
        listed = "; ".join(f"stage {stage.index} ({stage.name}): {stage.why}" for stage in bad)
        return Condition("Valid", "False", "ClientTooSlow", _cut(listed))
    return Condition("Valid", "False", outcome.ended.capitalize(), "the run was not carried out to its end")


def _kept(outcome: Outcome) -> Condition:
    if outcome.kept is None:
        return Condition("ObjectiveKept", "Unknown", "NotJudged", "there is no objective, or too little to tell")
    if outcome.kept:
        return Condition("ObjectiveKept", "True", "Kept", "enough requests were within the objective's bounds")
    return Condition("ObjectiveKept", "False", "NotKept", "too few requests were within the objective's bounds")


def _message(told: Sequence[Condition]) -> str:
    """Of the condition that says most: why it is refused, how it ended, else how it goes."""
    by = {condition.type: condition for condition in told}
    if by["Accepted"].status == "False":
        return by["Accepted"].message
    if by["Finished"].status == "True":
        return by["Valid"].message if by["Finished"].reason == "Complete" else by["Finished"].message
    return by["Running"].message


def _stamped(condition: Condition, before: Sequence[Condition], at: str, generation: int) -> Condition:
    old = next((c for c in before if c.type == condition.type), None)
    since = old.last_transition_time if old is not None and old.status == condition.status else at
    return msgspec.structs.replace(condition, last_transition_time=since or at, observed_generation=generation)


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE else text[: _MESSAGE - 1] + "…"
