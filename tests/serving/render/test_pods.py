"""What a ModelService becomes: pods, pools, budgets, claims, routes; and when its revision changes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from fairlead.api import ModelService
from fairlead.serving.render import member_pod, pools, replica_pods
from fairlead.serving.render.budgets import disruption_budgets
from fairlead.serving.render.claims import claim_templates
from fairlead.serving.render.network import headless_service
from fairlead.serving.render.routes import rewrite
from fairlead.serving.resolve import ClusterFacts, Resolved, Unservable, resolve_service
from fairlead.serving.store.mount import StoreFacts

FACTS = ClusterFacts(store=StoreFacts(fetch_image=""), kv_events=False)


def service(**spec: Any) -> ModelService:
    raw = {
        "metadata": {"name": "chat", "namespace": "prod", "uid": "u1", "generation": 3},
        "spec": {"model": {"name": "tiny", "aliases": ["small"]}, "runtime": "simulated", "replicas": 2} | spec,
    }
    return msgspec.convert(raw, ModelService)


def resolved(**spec: Any) -> Resolved:
    return resolve_service(service(**spec), (), FACTS)


def pod(index: int = 0, **spec: Any) -> dict[str, Any]:
    made = resolved(**spec)
    role = next(iter(made.roles))
    return member_pod(service(**spec), made, role, f"chat-{made.revision[:6]}-0", 0, index, "", "stable")


def container(**spec: Any) -> dict[str, Any]:
    result: dict[str, Any] = next(c for c in pod(**spec)["spec"]["containers"] if c["name"] == "engine")
    return result


def test_the_engine_listens_on_the_pods_own_address() -> None:
    made = container()
    assert made["command"][:3] == ["fairlead", "engine", "simulated"]
    assert made["command"][made["command"].index("--host") + 1] == "$(POD_IP)"
    address = next(e for e in made["env"] if e["name"] == "POD_IP")
    assert address["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert made["ports"] == [{"name": "http", "containerPort": 8000}]
    assert made["lifecycle"]["preStop"]["sleep"]["seconds"] >= 1, "pools hear of the end before the engine does"


@pytest.mark.parametrize(
    ("runtime", "ready", "live"),
    [("vllm", "/health", "/health"), ("mlserver", "/v2/health/ready", "/v2/health/live")],
)
def test_probes_are_the_engines(runtime: str, ready: str, live: str) -> None:
    made = container(runtime=runtime, model={"name": "m", "source": "/models/m"})
    assert made["readinessProbe"]["httpGet"]["path"] == made["startupProbe"]["httpGet"]["path"] == ready
    assert made["livenessProbe"]["httpGet"]["path"] == live


def test_arguments_environment_and_resources_reach_the_container() -> None:
    made = container(
        runtime="vllm",
        model={"name": "tiny", "source": "hf://org/tiny"},
        command=["/opt/vllm", "serve"],
        args=["--max-num-seqs", "128"],
        env=[{"name": "A", "value": "1"}],
        resources={"requests": {"cpu": "2"}},
    )
    assert made["command"][:3] == ["/opt/vllm", "serve", "org/tiny"]
    assert "--max-num-seqs 128" in " ".join(made["command"])
    assert {"name": "A", "value": "1"} in made["env"]
    assert made["resources"]["requests"] == {"cpu": "2"}


def test_the_revision_changes_with_anything_that_runs_and_with_nothing_else() -> None:
    def revision(**spec: Any) -> str:
        return resolved(**spec).revision

    same = {revision(), revision(replicas=7), revision(rollout={"strategy": "Canary"}), revision(queue="")}
    assert len(same) == 1
    others = {revision(args=["x"]), revision(nodeSelector={"a": "b"}), revision(resources={"limits": {"cpu": "1"}})}
    assert len(others | same) == 4


def test_every_replica_answers_to_the_shadow_name_of_its_revision() -> None:
    made = resolved()
    assert made.shadow == f"tiny~{made.revision[:8]}"
    assert made.shadow in container()["command"]


def test_engines_whose_names_are_those_of_files_get_no_other() -> None:
    models = {"name": "iris", "aliases": ["digits"], "source": "/m"}
    assert resolved(runtime="onnx", model=models).shadow == ""
    assert "~" not in " ".join(container(runtime="onnx", model=models)["command"])


def test_several_hosts_have_what_leader_worker_set_gives_its_pods() -> None:
    spread = {"parallelism": {"tensor": 4, "hosts": 2}, "runtime": "vllm", "model": {"name": "m", "source": "/m"}}
    made = resolved(**spread)
    leader, worker = replica_pods(service(**spread), made, "unified", "chat-abcdef-3", 3, "", "stable")
    assert (leader["metadata"]["name"], worker["metadata"]["name"]) == ("chat-abcdef-3", "chat-abcdef-3-1")
    for index, each in enumerate((leader, worker)):
        labels = each["metadata"]["labels"]
        assert labels["leaderworkerset.sigs.k8s.io/worker-index"] == str(index)
        assert labels["leaderworkerset.sigs.k8s.io/group-index"] == "3"
        assert labels["fairlead.dev/gang"] == "chat-abcdef-3"
        env = {e["name"]: e.get("value") for e in each["spec"]["containers"][0]["env"]}
        assert env["LWS_LEADER_ADDRESS"] == "chat-abcdef-3.chat-members.prod"
        assert (env["LWS_GROUP_SIZE"], env["LWS_WORKER_INDEX"]) == ("2", str(index))
        assert json.loads(each["metadata"]["annotations"]["fairlead.dev/gang-spec"])
    network = headless_service(service(**spread), made)
    assert network is not None and network["spec"]["publishNotReadyAddresses"]
    assert headless_service(service(), resolved()) is None


def test_pods_and_pools_belong_to_the_service() -> None:
    made = resolved()
    (stable,) = pools(service(), made)
    assert stable["metadata"]["annotations"]["fairlead.dev/models"] == "tiny,small"
    labels = pod()["metadata"]["labels"]
    assert stable["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for obj in (pod(), stable, *disruption_budgets(service(), made)):
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("ModelService", "u1", True)


def test_a_trial_is_reached_by_its_shadow_name_alone() -> None:
    old, new = resolved(), resolved(args=["--itl-ms", "9"])
    _, canary = pools(service(), old, new)
    assert canary["metadata"]["name"] == "chat-canary"
    assert canary["metadata"]["annotations"]["fairlead.dev/models"] == new.shadow
    rule = rewrite(service(), old, new.shadow, 20)
    assert rule is not None
    targets = rule["spec"]["rules"][0]["targets"]
    assert {t["modelRewrite"]: t["weight"] for t in targets} == {"tiny": 80, new.shadow: 20}
    assert rewrite(service(), old, new.shadow, 0) is None


def test_accelerators_become_claims() -> None:
    entry = {"name": "h100", "deviceClass": "gpu.nvidia.com", "count": 2}
    spec = {"accelerators": [entry], "runtime": "vllm", "model": {"name": "m", "source": "/m"}}
    (template,) = claim_templates(service(**spec), resolved(**spec))
    request = template["spec"]["spec"]["devices"]["requests"][0]
    assert "gpu.nvidia.com" in json.dumps(request) and '"count": 2' in json.dumps(request)
    uses = pod(**spec)["spec"]["resourceClaims"]
    assert uses[0]["resourceClaimTemplateName"] == template["metadata"]["name"]


def test_roles_are_told_apart() -> None:
    roles = [{"name": "prefill"}, {"name": "decode", "replicas": 2}]
    made = resolved(roles=roles)
    assert list(made.roles) == ["prefill", "decode"]
    names = {
        role: replica_pods(service(roles=roles), made, role, f"chat-{role}-abcdef-0", 0, "", "stable")[0]["metadata"]
        for role in made.roles
    }
    assert {role: m["labels"]["llm-d.ai/role"] for role, m in names.items()} == {
        "prefill": "prefill",
        "decode": "decode",
    }
    assert len(disruption_budgets(service(roles=roles), made)) == 2


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"runtime": "no-such"}, "no-such"),
        ({"runtime": "onnx", "parallelism": {"tensor": 2}, "model": {"name": "m", "source": "/m"}}, "parallelism"),
    ],
)  # fmt: skip
def test_what_cannot_run_names_the_field(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(Unservable, match=said) as refused:
        resolved(**spec)
    assert refused.value.remedy
