"""Job decisions played against a small world in which the controller may die between any two of its writes."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.clock import format_time
from fairlead.embedded.controllers.job import JobStep, compute_job, finished_condition
from fairlead.embedded.controllers.job_pods import FINALIZER
from fairlead.embedded.controllers.job_policy import INDEX, INDEX_FAILURES, format_indexes, parse_indexes

Object = dict[str, Any]
T0 = 1_700_000_000.0


def job(**spec: Any) -> Object:
    return {
        "metadata": {"name": "j", "namespace": "default", "uid": "job", "generation": 1},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            "template": {
                "metadata": {"labels": {"job-name": "j"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]},
            },
        }
        | spec,
        "status": {},
    }


class World:
    """An API server and a kubelet in a few lines: pods with finalizers stay, pods without go."""

    def __init__(self, obj: Object) -> None:
        self.job = obj
        self.pods: dict[str, Object] = {}
        self.now_s = T0
        self.ended: dict[str, str] = {}
        """Uid -> how each pod that was the job's own to count ended."""
        self.reasons: list[str] = []
        self._made = 0

    def step(self) -> JobStep:
        return compute_job(copy.deepcopy(self.job), copy.deepcopy(list(self.pods.values())), self.now_s)

    def writes(self, step: JobStep) -> Iterator[None]:
        """Carry a step out, pausing after each write."""
        if step.status != self.job["status"]:
            self.job["status"] = step.status
            self.reasons += [reason for _, reason, _ in step.events]
            yield
        for name in step.release + step.discard:
            if FINALIZER in self.pods[name]["metadata"]["finalizers"]:
                self._unhold(name)
                yield
        for template in step.create:
            self._made += 1
            name = f"p{self._made}"
            pod = copy.deepcopy(template)
            pod["metadata"] |= {"name": name, "uid": name, "creationTimestamp": format_time(self.now_s)}
            pod["status"] = {"phase": "Pending"}
            self.pods[name] = pod
            yield
        for name in step.discard + step.delete:
            if name in self.pods:
                self._delete(name)
                yield

    def run(self, cut: int | None = None) -> bool:
        """One reconcile, killed after `cut` writes; False when there was nothing to write."""
        wrote = False
        for number, _ in enumerate(self.writes(self.step())):
            wrote = True
            if cut is not None and number >= cut:
                break
        return wrote

    def end(self, name: str, phase: str, exit_code: int = 0) -> None:
        pod = self.pods[name]
        finished = {"exitCode": exit_code, "finishedAt": format_time(self.now_s)}
        pod["status"] = {"phase": phase, "containerStatuses": [{"name": "c", "state": {"terminated": finished}}]}
        if FINALIZER in pod["metadata"]["finalizers"]:
            self.ended[name] = phase
        elif "deletionTimestamp" in pod["metadata"]:
            del self.pods[name]

    def _delete(self, name: str) -> None:
        pod = self.pods[name]
        if FINALIZER in pod["metadata"]["finalizers"]:
            pod["metadata"]["deletionTimestamp"] = format_time(self.now_s)
        else:
            del self.pods[name]

    def _unhold(self, name: str) -> None:
        pod = self.pods[name]
        pod["metadata"]["finalizers"].remove(FINALIZER)
        if "deletionTimestamp" in pod["metadata"]:
            del self.pods[name]

    def running(self) -> list[str]:
        return [n for n, p in self.pods.items() if p["status"]["phase"] in ("Pending", "Running")]

    def settle(self) -> None:
        for _ in range(200):
            if not self.run():
                return
        raise AssertionError("the job did not come to rest")

    def types(self) -> list[str]:
        return [c["type"] for c in self.job["status"].get("conditions", ()) if c["status"] == "True"]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 4), st.booleans(), st.booleans(), st.integers(0, 2**32), st.floats(0.0, 0.6),
)  # fmt: skip
def test_every_end_is_counted_exactly_once_wherever_the_controller_dies(
    completions: int, parallelism: int, indexed: bool, replace_failed: bool, seed: int, failing: float
) -> None:
    chance = random.Random(seed)
    spec = {"completions": completions, "parallelism": parallelism, "backoffLimit": 10_000}
    spec |= {"completionMode": "Indexed" if indexed else "NonIndexed"}
    spec |= {"podReplacementPolicy": "Failed"} if replace_failed else {}
    world = World(job(**spec))
    for _ in range(3000):
        world.run(chance.choice((None, 0, 1, 2)))
        assert world.job["status"].get("active", 0) <= parallelism
        assert len(world.running()) <= parallelism
        for name in world.running():
            if chance.random() < 0.5:
                world.end(name, "Failed" if chance.random() < failing else "Succeeded")
        world.now_s += chance.choice((1, 700))
        if finished_condition(world.job["status"]):
            break
    world.settle()
    status = world.job["status"]
    assert world.types() == ["SuccessCriteriaMet", "Complete"]
    assert status["succeeded"] == completions
    assert status.get("failed", 0) == sum(phase == "Failed" for phase in world.ended.values())
    assert status["uncountedTerminatedPods"] == {} and status.get("active", 0) == 0
    assert world.reasons.count("Completed") == 1
    assert not any(FINALIZER in p["metadata"]["finalizers"] for p in world.pods.values())
    if indexed:
        assert parse_indexes(status["completedIndexes"]) == set(range(completions))


def test_too_many_failures_end_the_job_after_its_pods_have_gone() -> None:
    world = World(job(completions=4, parallelism=3, backoffLimit=0))
    world.settle()
    world.end("p1", "Failed")
    world.run()
    assert world.types() == ["FailureTarget"]
    world.settle()
    assert world.types() == ["FailureTarget", "Failed"]
    # What still ran has failed with the job.
    assert world.job["status"]["failed"] == 3 and world.reasons == ["BackoffLimitExceeded"]
    assert not world.running()


def test_suspending_discards_pods_uncounted_and_resuming_starts_anew() -> None:
    world = World(job(completions=3, parallelism=3))
    world.settle()
    world.job["spec"]["suspend"] = True
    world.settle()
    status = world.job["status"]
    assert not world.pods and "failed" not in status and "startTime" not in status
    assert world.types() == ["Suspended"]
    world.job["spec"]["suspend"] = False
    world.now_s += 5
    world.settle()
    assert len(world.running()) == 3 and world.types() == []
    assert world.job["status"]["startTime"] == format_time(world.now_s)
    assert world.reasons == ["Suspended", "Resumed"]


def test_a_job_created_suspended_has_not_started() -> None:
    world = World(job(suspend=True))
    world.settle()
    assert "startTime" not in world.job["status"] and not world.pods


def test_less_parallelism_discards_pods_that_are_not_failures() -> None:
    world = World(job(completions=9, parallelism=4))
    world.settle()
    world.job["spec"]["parallelism"] = 1
    world.settle()
    assert len(world.running()) == 1 and "failed" not in world.job["status"]


def test_a_failed_pod_is_replaced_after_a_growing_delay() -> None:
    world = World(job(completions=1, backoffLimit=6))
    for delay_s in (10, 20, 40):
        world.settle()
        (name,) = world.running()
        world.end(name, "Failed")
        world.settle()
        assert not world.running()
        assert world.step().recheck_in_s == pytest.approx(delay_s)
        world.now_s += delay_s
    world.settle()
    assert len(world.running()) == 1


def test_the_deadline_counts_from_the_start() -> None:
    world = World(job(activeDeadlineSeconds=30))
    world.settle()
    assert world.step().recheck_in_s == 30
    world.now_s += 30
    world.settle()
    assert world.reasons == ["DeadlineExceeded"] and world.types() == ["FailureTarget", "Failed"]


def test_an_ended_job_goes_after_its_time_to_live() -> None:
    world = World(job(ttlSecondsAfterFinished=60))
    world.settle()
    world.end("p1", "Succeeded")
    world.settle()
    assert world.step().recheck_in_s == 60 and not world.step().delete_job
    world.now_s += 60
    assert world.step().delete_job


@pytest.mark.parametrize(
    "action, failed, ends", [("FailJob", 1, True), ("Ignore", 0, False), ("Count", 1, False)]
)  # fmt: skip
def test_the_failure_policy_decides_what_an_exit_code_means(action: str, failed: int, ends: bool) -> None:
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}
    world = World(job(podFailurePolicy={"rules": [rule]}, podReplacementPolicy="Failed"))
    world.settle()
    world.end("p1", "Failed", 42)
    world.settle()
    assert world.job["status"].get("failed", 0) == failed
    assert bool(finished_condition(world.job["status"])) == ends
    if ends:
        message = "Container c for pod default/p1 failed with exit code 42 matching FailJob rule at index 0"
        assert finished_condition(world.job["status"])["message"] == message  # type: ignore[index]


def test_failures_of_one_index_end_only_that_index() -> None:
    world = World(
        job(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1, backoffLimit=2**31 - 1)
    )
    world.settle()
    for counted in ("0", "1"):
        (bad,) = [n for n in world.running() if world.pods[n]["metadata"]["annotations"][INDEX] == "0"]
        assert world.pods[bad]["metadata"]["annotations"][INDEX_FAILURES] == counted
        world.end(bad, "Failed")
        world.settle()
        world.now_s += 700
        world.settle()
    assert world.job["status"]["failedIndexes"] == "0" and world.job["status"]["failed"] == 2
    (other,) = world.running()
    world.end(other, "Succeeded")
    world.settle()
    assert world.job["status"]["completedIndexes"] == "1"
    assert world.reasons == ["FailedIndexes"] and world.types() == ["FailureTarget", "Failed"]


def test_a_success_policy_ends_the_job_early_and_what_runs_has_not_failed() -> None:
    policy = {"rules": [{"succeededIndexes": "0"}]}
    world = World(job(completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy))
    world.settle()
    (leader,) = [n for n in world.running() if world.pods[n]["metadata"]["annotations"][INDEX] == "0"]
    world.end(leader, "Succeeded")
    world.settle()
    status = world.job["status"]
    assert world.types() == ["SuccessCriteriaMet", "Complete"] and not world.running()
    assert status["conditions"][0]["reason"] == "SuccessPolicy" and "failed" not in status
    assert status["conditions"][0]["message"] == "Matched rules at index 0"


def test_pods_with_a_repeated_index_are_surplus() -> None:
    world = World(job(completions=2, parallelism=2, completionMode="Indexed"))
    world.settle()
    twin = copy.deepcopy(world.pods["p1"])
    twin["metadata"] |= {"name": "twin", "uid": "twin"}
    world.pods["twin"] = twin
    world.settle()
    assert len(world.running()) == 2


@given(st.sets(st.integers(0, 40)))
def test_indexes_survive_their_text(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


def test_three_in_a_row_are_a_range() -> None:
    assert format_indexes([0, 1, 3, 4, 5, 7]) == "0,1,3-5,7"
