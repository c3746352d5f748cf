"""The status of a benchmark, and when its run is over, from what is seen of its pods."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.cluster.made import RUNNING, benchmark, ended, pod
from fairlead.api.benchmark import BenchmarkStage
from fairlead.bench.cluster.outcome import Outcome, encode
from fairlead.bench.cluster.seen import Standing, ending, see_job, see_pod, troubles
from fairlead.bench.cluster.status import Begun, Problem, compute_status

AT, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"
BEGUN = Begun("bench-b", "j-1", 2, "d")
JOB: dict[str, Any] = {"status": {}}
GOOD = Outcome("complete", run="r-1", valid=True, kept=True)


def finished(kind: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True", "reason": "Why", "message": "so"}]}}


def kinds(status: Any) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status.conditions}


def test_states_in_their_order() -> None:
    made = benchmark(workers=2)
    assert compute_status(made, AT).state == "Starting"
    assert compute_status(benchmark(suspend=True), AT).state == "Suspended"
    coming = see_job(JOB, [pod(0, RUNNING), pod(1, {"waiting": {"reason": "ContainerCreating"}}, "Pending")])
    status = compute_status(made, AT, begun=BEGUN, standing=coming)
    assert (status.state, status.start_time, status.coordinator, status.workers) == ("Starting", AT, "bench-b-0-x", 2)
    there = see_job(JOB, [pod(n, RUNNING) for n in range(3)])
    going = compute_status(made, LATER, begun=BEGUN, standing=there)
    assert going.state == "Running" and kinds(going)["Running"] == ("True", "Running")
    # A worker that is lost does not put a run back to its start.
    lost = see_job(JOB, [pod(0, RUNNING), pod(1, RUNNING), pod(2, ended(137), "Failed")])
    assert compute_status(made, LATER, begun=BEGUN, standing=lost).state == "Running"
    assert compute_status(benchmark(stop=True), LATER, begun=BEGUN, standing=there).state == "Ending"


def test_conditions_keep_the_time_since_when_they_are_so() -> None:
    made = benchmark()
    first = compute_status(made, AT)
    again = compute_status(msgspec.structs.replace(made, status=first), LATER)
    assert again == first
    over = compute_status(
        msgspec.structs.replace(made, status=first), LATER, begun=BEGUN, standing=Standing(), outcome=GOOD
    )
    since = {c.type: c.last_transition_time for c in over.conditions}
    assert since["Accepted"] == AT and since["Finished"] == LATER and over.completion_time == LATER


@pytest.mark.parametrize(
    ("outcome", "state", "told"),
    [
        (
            GOOD,
            "Complete",
            {"Complete": ("True", "Complete"), "Valid": ("True", "ClientKeptUp"), "ObjectiveKept": ("True", "Kept")},
        ),
        (
            Outcome("complete", run="r", kept=False, stages=[BenchmarkStage(0, False, why="late")]),
            "Invalid",
            {
                "Complete": ("True", "Complete"),
                "Valid": ("False", "ClientTooSlow"),
                "ObjectiveKept": ("False", "NotKept"),
            },
        ),
        (
            Outcome("interrupted", "spec.stop", run="r"),
            "Interrupted",
            {
                "Failed": ("True", "Interrupted"),
                "Valid": ("False", "Interrupted"),
                "ObjectiveKept": ("Unknown", "NotJudged"),
            },
        ),
        (Outcome("failed", "why"), "Failed", {"Failed": ("True", "Failed"), "Valid": ("False", "NoFigures")}),
    ],
)
def test_ends(outcome: Outcome, state: str, told: dict[str, tuple[str, str]]) -> None:
    status = compute_status(benchmark(), AT, begun=BEGUN, standing=Standing(), outcome=outcome)
    assert status.state == state and status.ended == outcome.ended
    assert told.items() <= kinds(status).items()
    assert kinds(status)["Finished"][0] == "True" and ("Complete" in kinds(status)) != ("Failed" in kinds(status))


def test_a_refusal_names_what_is_wrong_and_a_config_changed_too_late_is_told() -> None:
    refused = compute_status(benchmark(), AT, problem=Problem("ConfigInvalid", "spec.config: no"))
    assert refused.state == "Refused" and kinds(refused)["Accepted"] == ("False", "ConfigInvalid")
    stale = Begun("bench-b", "j-1", 2, "d", is_current=False)
    status = compute_status(benchmark(), AT, begun=stale, standing=Standing())
    assert kinds(status)["Current"] == ("False", "ConfigChanged")


def test_where_the_folder_is() -> None:
    told = Outcome("complete", run="r-1", results="/results/r-1", problem="reports are not written: full")
    status = compute_status(benchmark(results={"claim": "kept"}), AT, begun=BEGUN, standing=Standing(), outcome=told)
    assert status.results == "claim kept, folder r-1"
    assert any("reports are not written" in c.message for c in status.conditions)


# When a run is over


def test_the_coordinators_last_words_are_the_end() -> None:
    words = encode(GOOD).decode()
    standing = see_job(JOB, [pod(0, ended(0, words, "Completed"), "Succeeded"), pod(1, ended(0), "Succeeded")])
    assert ending(standing, late=False) == GOOD
    # What a node knows of a worker that was lost is told with it, and the Job's own verdict is none of ours.
    lost = pod(1, ended(137, reason="OOMKilled"), "Failed")
    told = ending(see_job(finished("Failed"), [pod(0, ended(0, words, "Completed"), "Succeeded"), lost]), late=False)
    assert told == msgspec.structs.replace(GOOD, notes=["bench-b-1-x: OOMKilled, exit status 137"])


def test_a_coordinator_without_words_has_failed() -> None:
    killed = see_job(JOB, [pod(0, ended(137, "last line\nof the log", "OOMKilled"), "Failed"), pod(1, RUNNING)])
    told = ending(killed, late=False)
    assert told is not None and told.ended == "failed"
    assert "bench-b-0-x ended without a report (OOMKilled, exit status 137): of the log" in told.why
    evicted = see_job(JOB, [pod(0, None, "Failed", reason="Evicted", message="low on memory")])
    told = ending(evicted, late=False)
    assert told is not None and "Evicted: low on memory" in told.why


def test_why_workers_did_not_come_is_told_by_their_pods() -> None:
    words = encode(Outcome("failed", "worker 0: pod bench-b-1 did not call within 5 s")).decode()
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    pods = [
        pod(0, ended(1, words), "Failed"),
        pod(1, None, "Pending", conditions=[unplaced]),
        pod(2, {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}, "Pending"),
    ]
    told = ending(see_job(JOB, pods), late=False)
    assert told is not None
    assert "did not call within 5 s; bench-b-1-x: Unschedulable: 0/2 nodes; bench-b-2-x: ErrImagePull: no" in told.why


def test_ends_without_a_coordinator() -> None:
    assert ending(see_job(None, []), late=False) == Outcome("failed", "its Job was deleted before the run had ended")
    gone = ending(see_job(finished("Failed"), []), late=False)
    assert gone is not None and "without a report of the coordinator (Why: so)" in gone.why
    late = ending(see_job(JOB, [pod(0, None, "Pending")]), late=True)
    assert late is not None and "startDeadlineSeconds" in late.why
    assert ending(see_job(JOB, []), late=False) is None
    # One that is up counts its workers itself, and one whose end is on its way is waited for.
    assert ending(see_job(JOB, [pod(0, RUNNING)]), late=True) is None
    assert ending(see_job(finished("Failed"), [pod(0, RUNNING)]), late=True) is None


def test_troubles_are_few_and_pods_of_others_are_none() -> None:
    seen = [see_pod(pod(n, ended(1), "Failed")) for n in range(5)]
    listed = troubles([each for each in seen if each is not None])
    assert len(listed) == 4 and listed[-1] == "and 2 more"
    stray = pod(0, RUNNING)
    assert (
        see_pod(msgspec.structs.replace(stray, metadata=msgspec.structs.replace(stray.metadata, annotations={})))
        is None
    )
