"""Deployments and their like, jobs and cron jobs: defaults, selectors, what is fixed."""

from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds.cron_schedule import check_schedule
from fairlead.embedded.apiserver.registry import Object

LABELS = {"app": "a"}


def workload(**spec: Any) -> Object:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec}}


def job(*, policy: str = "Never", **spec: Any) -> Object:
    containers = [{"name": "c", "image": "i"}]
    return {"spec": {"template": {"spec": {"containers": containers, "restartPolicy": policy}}, **spec}}


_ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "Deployment",
            {"replicas": 1, "strategy": _ROLLING, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
        ),
        ("ReplicaSet", {"replicas": 1}),
        (
            "DaemonSet",
            {
                "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            },
        ),
        (
            "StatefulSet",
            {
                "replicas": 1,
                "podManagementPolicy": "OrderedReady",
                "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            },
        ),
    ],
)
def test_defaults(kinds: Any, kind: str, expected: Object) -> None:
    spec = kinds.accepted(kind, workload())["spec"]
    assert {key: spec[key] for key in expected} == expected
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"])
def test_selectors_match_the_template_and_stay(kinds: Any, kind: str) -> None:
    other = {"matchLabels": {"app": "b"}}
    (problem,) = kinds.problems(kind, workload(selector=other))
    assert problem.startswith("spec.template.metadata.labels: Invalid value: ")
    assert problem.endswith("`selector` does not match template `labels`")

    def relabel(obj: Object) -> None:
        obj["spec"]["selector"] = other
        obj["spec"]["template"]["metadata"]["labels"] = {"app": "b"}

    _, problems = kinds.change(kind, kinds.accepted(kind, workload()), relabel)
    assert len(problems) == 1
    assert "immutable" in problems[0] or "updates to statefulset spec for fields other than" in problems[0]


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("Deployment", {"replicas": -1}, "spec.replicas"),
        ("Deployment", {"selector": None}, "spec.selector"),
        ("Deployment", {"selector": {}}, "spec.selector"),
        ("Deployment", {"progressDeadlineSeconds": 1, "minReadySeconds": 1}, "spec.progressDeadlineSeconds"),
        (
            "Deployment",
            {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable",
        ),
        ("Deployment", {"strategy": {"type": "Recreate", "rollingUpdate": {}}}, "spec.strategy.rollingUpdate"),
        ("StatefulSet", {"podManagementPolicy": "X"}, "spec.podManagementPolicy"),
        ("DaemonSet", {"updateStrategy": {"type": "X"}}, "spec.updateStrategy"),
    ],
)
def test_refused_fields(kinds: Any, kind: str, spec: Object, field: str) -> None:
    assert field in [problem.partition(":")[0] for problem in kinds.problems(kind, workload(**spec))]


def test_job_gets_its_selector_from_its_uid(kinds: Any) -> None:
    obj = kinds.accepted("Job", job())
    spec, uid = obj["spec"], obj["metadata"]["uid"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "x",
        "controller-uid": uid,
        "job-name": "x",
    }
    assert {key: spec[key] for key in ("completions", "parallelism", "backoffLimit", "completionMode", "suspend")} == {
        "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
    }  # fmt: skip
    assert spec["podReplacementPolicy"] == "TerminatingOrFailed"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (job(policy="Always"), "spec.template.spec.restartPolicy"),
        (job(completions=-1), "spec.completions"),
        (job(parallelism=-1), "spec.parallelism"),
        (job(selector={"matchLabels": {"a": "b"}}), "spec.template.metadata.labels"),
        (job(completionMode="Indexed", parallelism=1), "spec.completions"),
    ],
)
def test_refused_jobs(kinds: Any, body: Object, field: str) -> None:
    assert field in [problem.partition(":")[0] for problem in kinds.problems("Job", body)]


def test_fixed_fields_of_jobs(kinds: Any) -> None:
    old = kinds.accepted("Job", job())
    assert kinds.change("Job", old, lambda obj: obj["spec"].update(parallelism=0, suspend=True))[1] == []
    _, problems = kinds.change("Job", old, lambda obj: obj["spec"].update(completions=2))
    assert problems == ["spec.completions: Invalid value: 2: field is immutable"]


def test_jobs_keep_their_pods_unless_told_otherwise(kinds: Any) -> None:
    strategy = kinds.type("Job").strategy
    assert strategy.orphans_by_default
    assert strategy.deletion_warning.startswith("child pods are preserved by default when jobs are deleted;")


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 0-6 1,15 jan-mar MON", "@hourly", "@every 5m", "TZ=UTC 0 0 * * *", "1 1 ? * ?"]
)
def test_schedules(schedule: str) -> None:
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("@never", "unrecognized descriptor: @never"),
    ],
)
def test_bad_schedules(schedule: str, problem: str) -> None:
    with pytest.raises(ValueError) as raised:
        check_schedule(schedule)
    assert str(raised.value) == problem


def test_cron_job(kinds: Any) -> None:
    body = {"spec": {"schedule": "* * * * *", "jobTemplate": job()}}
    spec = kinds.accepted("CronJob", body)["spec"]
    assert (spec["concurrencyPolicy"], spec["suspend"]) == ("Allow", False)
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 1)
    bad = {"spec": {"schedule": "x", "jobTemplate": job(), "timeZone": "Nowhere/Else"}}
    fields = [problem.partition(":")[0] for problem in kinds.problems("CronJob", bad)]
    assert fields == ["spec.schedule", "spec.timeZone"]


def test_scale_mappings(kinds: Any) -> None:
    for kind in ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"):
        assert kinds.type(kind).scale is not None
    assert kinds.type("DaemonSet").scale is None
