"""What is made of a benchmark: a Job whose pods are made once, and are told what they are to do."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cluster.made import CONFIG, benchmark
from fairlead.api.overlay import OverlayError
from fairlead.bench.cluster import names
from fairlead.bench.cluster.planning import plan_of
from fairlead.bench.cluster.render import Plan, job, secret, service
from fairlead.bench.cluster.status import Problem


def planned(**spec: object) -> Plan:
    plan = plan_of(benchmark(**spec), "fairlead:1")
    assert isinstance(plan, Plan)
    return plan


def test_the_job_runs_each_index_once_and_is_over_with_its_coordinator() -> None:
    made = job(benchmark(workers=3), planned(workers=3))
    spec = made["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    assert spec["backoffLimitPerIndex"] == 0 and spec["podReplacementPolicy"] == "Failed"
    assert spec["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never" and pod["automountServiceAccountToken"] is False
    assert container["image"] == "fairlead:1" and container["args"] == ["bench-pod"]
    env = {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
    assert env["FAIRLEAD_BENCH_COORDINATOR"] == "bench-b-0.bench-b.default.svc:7450"
    assert env["FAIRLEAD_BENCH_TOKEN"] == {"secretKeyRef": {"name": "bench-b", "key": "token"}}
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner["uid"] == "u-1" and owner["controller"] is True


def test_secret_and_service_are_found_by_the_pods() -> None:
    made, plan = benchmark(), planned()
    held = secret(made, plan, "t0ken")
    assert json.loads(base64.b64decode(held["data"]["config"])) == CONFIG
    assert base64.b64decode(held["data"]["token"]) == b"t0ken"
    headless = service(made)["spec"]
    labels = job(made, plan)["spec"]["template"]["metadata"]["labels"]
    assert headless["clusterIP"] == "None" and headless["publishNotReadyAddresses"] is True
    assert headless["selector"].items() <= labels.items()


def test_the_template_lies_over_the_pods_and_their_labels_stay() -> None:
    template = {
        "metadata": {"labels": {names.BENCHMARK_LABEL: "other", "team": "a"}},
        "spec": {
            "nodeSelector": {"pool": "load"},
            "containers": [
                {"name": "bench", "env": [{"name": "KEY", "value": "k"}], "resources": {"limits": {"cpu": "2"}}}
            ],
        },
    }
    made = job(benchmark(template=template), planned())["spec"]["template"]
    assert made["metadata"]["labels"][names.BENCHMARK_LABEL] == "u-1" and made["metadata"]["labels"]["team"] == "a"
    (container,) = made["spec"]["containers"]
    assert {"name": "KEY", "value": "k"} in container["env"] and len(container["env"]) > 5
    assert container["resources"] == {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "2"}}
    with pytest.raises(OverlayError, match=r"template\.spec\.containers\[0\]"):
        job(benchmark(template={"spec": {"containers": [{"image": "x"}]}}), planned())


def test_a_claim_is_mounted_and_a_folder_elsewhere_is_told() -> None:
    by_claim = job(benchmark(results={"claim": "kept"}), planned())["spec"]["template"]["spec"]
    assert by_claim["volumes"] == [{"name": "results", "persistentVolumeClaim": {"claimName": "kept"}}]
    assert {"name": names.RESULTS_ENV, "value": "/results"} in by_claim["containers"][0]["env"]
    by_url = job(benchmark(results={"url": "s3://b/x"}), planned())["spec"]["template"]["spec"]
    assert {"name": names.RESULTS_ENV, "value": "s3://b/x"} in by_url["containers"][0]["env"]


def test_workers_are_those_asked_for_or_as_the_load_needs() -> None:
    def config(rate: float, **more: object) -> dict[str, object]:
        return {**CONFIG, "load": {"stages": [{"rate_per_s": rate, "seconds": 5}]}, **more}

    assert planned(workers=7, config=config(1, workers=2)).workers == 7
    assert planned(config=config(1, workers=2)).workers == 2
    assert planned(config=config(1)).workers == 1
    assert planned(config=config(2000)).workers > 5
    assert planned(config=config(10**6)).workers == 32


def test_what_cannot_be_carried_out_is_refused_with_field_value_and_remedy() -> None:
    def refused(**spec: object) -> Problem:
        plan = plan_of(benchmark(**spec), "fairlead")
        assert isinstance(plan, Problem)
        return plan

    assert "spec.config: load is missing: say when to ask" in refused(config={"targets": [{"url": "http://x"}]}).message
    long = refused(config={**CONFIG, "description": "x" * 100_000})
    assert long.reason == "ConfigInvalid" and "above 98,304" in long.message and "spec.template" in long.message
    template = refused(template={"spec": {"containers": "x"}})
    assert template.reason == "TemplateInvalid" and template.message.startswith("spec.template.spec.containers is 'x'")
    # Files are the pods' and are not looked for here.
    assert planned(config={**CONFIG, "content": {"kind": "file", "path": "/on/a/volume.jsonl"}}).workers == 1


@settings(max_examples=50)
@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True), st.integers(0, 1000))
def test_names_of_pods_are_host_names_whatever_the_benchmark_is_called(name: str, index: int) -> None:
    made = names.job_name(name)
    host = names.pod_host(made, index)
    assert len(host) <= 63 and host.replace("-", "").isalnum() and host[0].isalpha() and host[-1] != "-"


def test_names_that_are_shortened_are_still_told_apart() -> None:
    long = "a" * 60
    assert len({names.job_name(n) for n in (long + "b", long + "c", "a.b", "a-b")}) == 4
