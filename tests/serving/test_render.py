"""What a ModelService becomes: pods, pool and status."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.api import ModelService
from fairlead.engines import EngineSourceError
from fairlead.serving.plan import Replica
from fairlead.serving.render import HASH_LABEL, SERVICE_LABEL, pod_template, pool, replica_pod, template_hash
from fairlead.serving.status import compute_status


def service(**spec: Any) -> ModelService:
    raw = {
        "metadata": {"name": "chat", "namespace": "prod", "uid": "u1", "generation": 3},
        "spec": {"model": {"name": "tiny", "aliases": ["small"]}, "runtime": "simulated", "replicas": 2} | spec,
    }
    return msgspec.convert(raw, ModelService)


def container(**spec: Any) -> dict[str, Any]:
    result: dict[str, Any] = pod_template(service(**spec))["spec"]["containers"][0]
    return result


def test_the_engine_listens_on_the_pods_own_address() -> None:
    made = container()
    assert made["command"][:3] == ["fairlead", "engine", "simulated"]
    assert made["command"][made["command"].index("--host") + 1] == "$(POD_IP)"
    assert made["env"][0] == {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    assert made["ports"] == [{"name": "http", "containerPort": 8000}]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= made.keys()


def test_arguments_environment_and_resources_reach_the_container() -> None:
    made = container(
        runtime="vllm",
        model={"name": "tiny", "source": "hf://org/tiny"},
        command=["/opt/vllm", "serve"],
        args=["--max-model-len", "128"],
        env=[{"name": "A", "value": "1"}],
        resources={"requests": {"cpu": "2"}},
    )
    assert made["command"][:3] == ["/opt/vllm", "serve", "org/tiny"]
    assert made["command"][-2:] == ["--max-model-len", "128"]
    assert {"name": "A", "value": "1"} in made["env"]
    assert made["resources"] == {"requests": {"cpu": "2"}}


def test_a_source_that_the_runtime_cannot_serve_is_refused() -> None:
    with pytest.raises(EngineSourceError, match="s3://x"):
        pod_template(service(runtime="vllm", model={"name": "m", "source": "s3://x"}))


def test_the_hash_changes_with_anything_that_runs_and_with_nothing_else() -> None:
    def hashed(**spec: Any) -> str:
        return template_hash(pod_template(service(**spec)))

    assert hashed() == hashed(replicas=7)
    assert (
        len({hashed(), hashed(args=["x"]), hashed(nodeSelector={"a": "b"}), hashed(resources={"limits": {"cpu": "1"}})})
        == 4
    )


def test_pods_and_pool_belong_to_the_service() -> None:
    made = service()
    template = pod_template(made)
    pod = replica_pod(made, template, "abc")
    assert pod["metadata"]["generateName"] == "chat-"
    assert pod["metadata"]["labels"][SERVICE_LABEL] == "chat" and pod["metadata"]["labels"][HASH_LABEL] == "abc"
    assert HASH_LABEL not in template["metadata"]["labels"], "the template itself stays as it is"
    published = pool(made)
    assert published["metadata"]["annotations"] == {"fairlead.dev/models": "tiny,small"}
    assert published["spec"]["selector"]["matchLabels"] == {SERVICE_LABEL: "chat"}
    for obj in (pod, published):
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("ModelService", "u1", True)


def test_the_status_counts_what_serves_and_keeps_transition_times() -> None:
    made = service()
    replicas = [Replica("a", updated=True, ready=True), Replica("b", updated=False, ready=True)]
    status = compute_status(made, replicas, "", "", "T1")
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 1)
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Ready"]["status"] == "True" and conditions["RolledOut"]["status"] == "False"
    assert status["observedGeneration"] == 3
    raw = {"metadata": made.metadata, "spec": msgspec.to_builtins(made.spec), "status": status}
    later = compute_status(msgspec.convert(raw, ModelService), replicas, "", "", "T2")
    assert later == status, "a status that says the same must be the same"


def test_what_keeps_a_replica_from_serving_is_said() -> None:
    replicas = [Replica("a", updated=True, ready=False)]
    status = compute_status(service(), replicas, "", "a: CrashLoopBackOff: back-off 10s", "T1")
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "ReplicaInTrouble"
    assert ready["message"] == "0 of 2 replicas are ready; a: CrashLoopBackOff: back-off 10s"


def test_a_problem_is_said_in_both_conditions() -> None:
    status = compute_status(service(), [], "quota exceeded", "", "T1")
    assert {c["message"] for c in status["conditions"]} == {"quota exceeded"}
    assert {c["status"] for c in status["conditions"]} == {"False"}
