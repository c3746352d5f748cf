"""Gangs by Job."""

from __future__ import annotations

from typing import Any

from fairlead.kube.objects.batch import Job, JobSpec, JobStatus
from fairlead.kube.objects.meta import ObjectMeta
from fairlead.scheduling.gangs.assemble import gang_key
from fairlead.scheduling.gangs.sources import GangContext, GangRef, Member
from scheduling.gangs.sources.members import NOTHING_ELSE, gang_of, member, names

ASKS = {"fairlead.dev/gang": "true"}
OWNER = ("batch/v1", "Job", "train")


def pod(index: int, annotations: dict[str, str] | None = None, **more: Any) -> Member:
    told = {"batch.kubernetes.io/job-completion-index": str(index), **(ASKS if annotations is None else annotations)}
    return member(f"train-{index}-abcde", annotations=told, owner=OWNER, **more)


def with_job(annotations: dict[str, str] | None = None, succeeded: int = 0, **spec: Any) -> GangContext:
    metadata = ObjectMeta(
        name="train", namespace="team", annotations=annotations or {}, labels={"fairlead.dev/queue": "q"}
    )
    job = Job(metadata=metadata, spec=JobSpec(**spec), status=JobStatus(succeeded=succeeded))
    return GangContext(job={("team", "train"): job}.get)


def test_an_ordinary_job_is_no_gang() -> None:
    assert gang_key(pod(0, {})[0], with_job(parallelism=4)) is None
    assert gang_key(pod(0, {"fairlead.dev/gang": "false"})[0], with_job(parallelism=4)) is None


def test_a_job_or_its_pods_ask_for_a_gang() -> None:
    expected = GangRef("Job", "team", "train")
    assert gang_key(pod(0)[0], NOTHING_ELSE) == expected
    assert gang_key(pod(0, {})[0], with_job(ASKS, parallelism=4)) == expected
    gang = gang_of([pod(2), pod(10), pod(0)], with_job(parallelism=3, completions=12))
    assert (gang.waits_for, gang.root.minimum, gang.queue, gang.recovery) == ("", 3, "q", "member")
    assert names(gang.root.pods) == ["train-0-abcde", "train-2-abcde", "train-10-abcde"]


def test_as_many_go_together_as_can_run_at_once() -> None:
    pods = [pod(i) for i in range(2)]
    assert gang_of(pods, with_job(parallelism=4)).waits_for == "waits for 2 more pods (2 of 4 are there)"
    assert gang_of(pods, with_job(parallelism=4, completions=8, succeeded=6)).waits_for == "", "two are left to do"
    assert gang_of(pods, with_job(completions=8)).root.minimum == 1, "parallelism is 1 where it is not set"
    done = pod(7, phase="Succeeded")
    short = gang_of([*pods, done], with_job(parallelism=3, completions=8, succeeded=1))
    assert short.waits_for == "waits for 1 more pod (2 of 3 are there)", "a finished pod runs no more"


def test_pods_of_a_job_may_describe_their_gang_further() -> None:
    told = ASKS | {"fairlead.dev/gang-spec": '{"min": 2, "topology": {"required": "rack"}, "recovery": "gang"}'}
    gang = gang_of([pod(i, told) for i in range(3)], with_job(parallelism=4))
    assert (gang.waits_for, gang.root.minimum, gang.recovery) == ("", 2, "gang")
    assert gang.root.topology.required == ("fabric.topograph.run/tier-0",)
    rest = gang_of([pod(7, told)], with_job(parallelism=4, completions=8, succeeded=7))
    assert rest.waits_for == "" and rest.root.minimum == 1, "no more than is left to do"
    unsized = ASKS | {"fairlead.dev/gang-spec": '{"topology": {"preferred": "block"}}'}
    near = gang_of([pod(0, unsized), pod(1, unsized)], with_job(parallelism=2))
    assert (near.waits_for, near.root.minimum) == ("", 2), "the Job says how many"
    annotated = gang_of([pod(0, ASKS | {"fairlead.dev/topology-required": "zone"})], with_job(parallelism=1))
    assert annotated.root.topology.required == ("topology.kubernetes.io/zone",)


def test_what_cannot_be_read_says_why() -> None:
    assert gang_of([pod(0)]).waits_for == "waits for Job team/train, which does not exist"
    told = ASKS | {"fairlead.dev/gang-spec": '{"min": 5}'}
    assert gang_of([pod(0, told)], with_job(parallelism=4)).waits_for == (
        "min in annotation fairlead.dev/gang-spec of pod team/train-0-abcde is '5': "
        "the Job runs 4 pods at once: lower min or raise parallelism"
    )
    other = member("web-1", annotations=ASKS, owner=("apps/v1", "ReplicaSet", "web"))
    assert (
        "that is for pods of Jobs, and a ReplicaSet owns it: write the label fairlead.dev/gang"
        in gang_of([other]).waits_for
    )
    assert "nothing owns it" in gang_of([member("bare", annotations=ASKS)]).waits_for
