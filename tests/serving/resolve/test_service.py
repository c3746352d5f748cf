"""A service as a whole: revisions, names, roles, engines' refusals in the service's own terms."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.resolve import ClusterFacts, Resolved, resolve_service
from fairlead.serving.resolved import Unservable
from fairlead.serving.rollout.revisions import OPERATION
from serving.resolve.services import FACTS, VLLM, runtime, service


def resolved(*runtimes: Any, **spec: Any) -> Resolved:
    return resolve_service(service(**spec), runtimes, FACTS)


def command(made: Resolved, role: Any = "unified") -> list[str]:
    words: list[str] = made.roles[role].ways[0].leader["spec"]["containers"][0]["command"]
    return words


OPERATIONS: dict[str, Any] = {
    "replicas": 9, "scaling": {"maxReplicas": 3}, "slo": {"ttftMilliseconds": 5}, "objectives": [{"name": "a"}],
    "rollout": {"strategy": "BlueGreen"}, "drain": {"settleSeconds": 7}, "recovery": {"policy": "None"},
    "batch": {"allowed": True},
}  # fmt: skip
DECISIVE: dict[str, Any] = {
    "command": ["x"], "args": ["--itl-ms", "5"], "env": [{"name": "A", "value": "1"}], "nodeSelector": {"a": "b"},
    "resources": {"limits": {"cpu": "1"}}, "parallelism": {"tensor": 2}, "adapters": {}, "queue": "q",
    "priorityClassName": "p", "terminationGracePeriodSeconds": 99, "probes": {"liveness": {"periodSeconds": 9}},
    "podTemplate": {"metadata": {"labels": {"a": "b"}}}, "accelerators": [{"name": "a", "deviceClass": "d"}],
    "kvCache": {"blockTokens": 32}, "roles": [{"name": "prefill"}, {"name": "decode"}],
}  # fmt: skip


def test_how_a_service_is_run_is_no_part_of_its_revision() -> None:
    assert set(OPERATIONS) | {"workload"} == OPERATION, "what revisions leave out changes none"
    assert {resolved(**{key: value}).revision for key, value in OPERATIONS.items()} == {resolved().revision}


@given(st.dictionaries(st.sampled_from(sorted(DECISIVE)), st.just(True)), st.sets(st.sampled_from(sorted(OPERATIONS))))
def test_equal_templates_have_equal_revisions_and_others_do_not(chosen: dict[str, bool], noise: set[str]) -> None:
    spec = {key: copy.deepcopy(DECISIVE[key]) for key in chosen}
    made = resolved(**spec)
    assert made.revision == resolved(**spec, **{key: OPERATIONS[key] for key in noise}).revision
    for key in chosen:
        rest = {k: v for k, v in spec.items() if k != key}
        assert resolved(**rest).revision != made.revision, key


@given(st.lists(st.sampled_from(sorted(DECISIVE)), unique=True))
def test_templates_are_json_and_nothing_is_shared_that_could_change(chosen: list[str]) -> None:
    spec = service(**{key: copy.deepcopy(DECISIVE[key]) for key in chosen})
    before = msgspec.json.encode(spec)
    for role in resolve_service(spec, (), FACTS).roles.values():
        for way in role.ways:
            assert json.loads(json.dumps(way.leader)) == way.leader
    assert msgspec.json.encode(spec) == before


def test_labels_that_nobody_reads_do_not_matter_and_those_of_an_expression_do() -> None:
    mine = runtime("mine", engine="simulated", env=[{"name": "TIER", "value": "${service.labels['tier']}"}])

    def revision(tier: str, **labels: str) -> str:
        metadata = {"labels": {"tier": tier, **labels}}
        return resolved(mine, runtime="mine", metadata=metadata).revision

    assert revision("gold") == revision("gold", more="x") != revision("iron")


def test_the_shadow_name_is_the_last_of_the_names_and_not_that_of_requests() -> None:
    made = resolved(model={"name": "m", "aliases": ["n"]})
    assert made.names == ("m", "n") and made.shadow == f"m~{made.revision[:8]}"
    words = command(made)
    assert words.index("m") < words.index("n") < words.index(made.shadow)
    assert made.roles["unified"].ways[0].engine_spec.aliases == ("n", made.shadow)


@pytest.mark.parametrize("engine", ["triton", "mlserver", "openvino", "onnx"])
def test_engines_with_one_name_have_no_canary_by_name(engine: str) -> None:
    spec: dict[str, Any] = {"runtime": engine, "model": {"name": "m", "source": "/m"}}
    assert resolved(**spec).shadow == ""
    with pytest.raises(Unservable, match="one name only"):
        resolved(**spec, rollout={"strategy": "Canary"})
    resolved(**spec, rollout={"strategy": "Canary", "canary": {"httpRoute": "route"}})


def test_a_role_has_what_it_says_and_else_what_the_service_says() -> None:
    made = resolved(
        **VLLM,
        args=["--a"], env=[{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        kvTransfer={"connector": "NixlConnector", "port": 5700},
        roles=[
            {"name": "prefill", "args": ["--b"], "env": [{"name": "B", "value": "2"}]},
            {"name": "decode", "parallelism": {"tensor": 2}},
        ],
    )  # fmt: skip
    prefill, decode = command(made, "prefill"), command(made, "decode")
    assert "--b" in prefill and "--a" not in prefill and "--a" in decode
    assert "--tensor-parallel-size" in decode and "--tensor-parallel-size" not in prefill
    for role in ("prefill", "decode"):
        container = made.roles[role].ways[0].leader["spec"]["containers"][0]
        assert '"kv_connector": "NixlConnector"' in " ".join(container["command"])
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert env["A"] == "1" and env["B"] == ("2" if role == "prefill" else "1")
        assert env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "5700"


def test_cache_settings_and_adapters_reach_the_engine() -> None:
    words = command(
        resolved(
            **VLLM,
            kvCache={"blockTokens": 32, "memoryPercent": 80, "dtype": "fp8", "prefixCaching": True, "offload": "64Gi"},
            adapters={"slots": 3, "maxRank": 16},
        )
    )
    flags = dict(pairwise(words))
    expected = {
        "--block-size": "32", "--gpu-memory-utilization": "0.8", "--kv-cache-dtype": "fp8",
        "--kv-offloading-size": "64.0", "--max-loras": "3", "--max-lora-rank": "16",
    }  # fmt: skip
    assert expected.items() <= flags.items() and "--enable-prefix-caching" in words


def test_engines_that_can_publish_what_they_hold_unless_it_is_said_otherwise() -> None:
    assert "--kv-events-config" in command(resolved(**VLLM))
    assert "--kv-events-config" not in command(resolved(**VLLM, kvCache={"prefixCaching": False}))
    own = command(resolved(**VLLM, args=["--kv-events-config", "{}"]))
    assert own.count("--kv-events-config") == 1
    silent = resolve_service(service(**VLLM), (), ClusterFacts(store=FACTS.store, kv_events=False))
    assert "--kv-events-config" not in command(silent)


def test_a_runtimes_own_parts_are_used() -> None:
    mine = runtime(
        "mine", image="reg/vllm:${1}", command=["run", "${model.name}"], requiredArgs=["--must"],
        defaultArgs=["--len ${parallelism.tensor}"], env=[{"name": "B", "value": "${parallelism.devices * 10}"}],
        resources={"requests": {"cpu": 4}}, probes={"liveness": {"httpGet": {"path": "/live", "port": 8000}}},
        template={"spec": {"volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}], "containers": [
            {"name": "engine", "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}]}]}},
    )  # fmt: skip
    made = resolved(mine, **{**VLLM, "runtime": "mine"}, parallelism={"tensor": 2})
    spec = made.roles["unified"].ways[0].leader["spec"]
    container = spec["containers"][0]
    assert container["image"] == "reg/vllm:${1}", "an image is no text with expressions"
    assert container["command"][:2] == ["run", "m"] and container["command"][-3:] == ["--len", "2", "--must"]
    assert {"name": "B", "value": "20"} in container["env"]
    assert container["resources"] == {"requests": {"cpu": "4"}}
    assert container["livenessProbe"] == {"httpGet": {"path": "/live", "port": 8000}}
    assert container["volumeMounts"] == [{"name": "shm", "mountPath": "/dev/shm"}] and spec["volumes"]
    theirs = resolved(mine, **{**VLLM, "runtime": "mine"}, resources={"limits": {"cpu": "1"}})
    assert theirs.roles["unified"].ways[0].leader["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}


def test_workers_have_templates_of_their_own() -> None:
    made = resolved(
        **VLLM, parallelism={"tensor": 4, "hosts": 2}, podTemplate={"metadata": {"labels": {"is": "leader"}}},
        workerTemplate={"metadata": {"labels": {"is": "worker"}}},
    )  # fmt: skip
    (way,) = made.roles["unified"].ways
    assert [way.template(i)["metadata"]["labels"]["is"] for i in range(2)] == ["leader", "worker"]
    leader, worker = (way.template(i)["spec"]["containers"][0] for i in range(2))
    assert "readinessProbe" in leader and "ports" in leader
    assert "readinessProbe" not in worker and "ports" not in worker and "--headless" in worker["command"]


def test_our_labels_stay_whatever_overlays_say() -> None:
    labels = {"fairlead.dev/model-service": "other", "fairlead.dev/role": "other", "mine": "1"}
    made = resolved(podTemplate={"metadata": {"labels": labels}})
    said = made.roles["unified"].ways[0].leader["metadata"]["labels"]
    assert (
        said["fairlead.dev/model-service"] == "chat" and said["fairlead.dev/role"] == "unified" and said["mine"] == "1"
    )


def test_several_models_on_the_engines_of_one_service() -> None:
    spec: dict[str, Any] = {"runtime": "triton", "model": {"name": "m", "source": "/repository"}}
    made = resolved(**spec, models=[{"name": "n", "aliases": ["nn"]}])
    assert made.names == ("m", "n", "nn") and made.aliases == {"nn": "n"}
    assert "--load-model=n" in command(made)


TWO_MODELS: dict[str, Any] = {"models": [{"name": "n"}]}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({**VLLM, **TWO_MODELS}, "models", "an engine of runtime vllm holds one model"),
    ({"runtime": "triton", "model": {"name": "m", "source": "/r"}, "models": [{"name": "n", "source": "/o"}]},
     "models[n].source", "one repository"),
    ({"runtime": "triton", "model": {"name": "m", "source": "/r"}, "models": [{"name": "m"}]}, "models",
     "two models have this name"),
    ({**VLLM, "args": ["--port", "9000"]}, "args", "Fairlead sets it"),
    ({**VLLM, "parallelism": {"tensor": 4, "hosts": 3}}, "parallelism.hosts", "does not divide 4 accelerators"),
    ({**VLLM, "parallelism": {"tensor": 4, "expert": 3}}, "parallelism.expert", "take 1 or 4"),
    ({**VLLM, "roles": [{"name": "encode"}]}, "roles", "kv_transfer.connector"),
    ({"runtime": "onnx", "model": {"name": "m", "source": "/m"}, "kvCache": {"blockTokens": 8}}, "kvCache.blockTokens",
     "as it is"),
    ({"runtime": "llama-cpp", "model": {"name": "m", "source": "/m"}, "adapters": {}}, "adapters", "name them all"),
    ({**VLLM, "model": {"name": "m", "source": "s3://b/m"}}, "model.source", "the engine cannot load it by itself"),
    ({**VLLM, "kvCache": {"offload": "lots"}}, "kvCache.offload", "64Gi"),
    ({**VLLM, "env": [{"name": "POD_IP", "value": "1"}]}, "env[POD_IP]", "take another name"),
    ({**VLLM, "env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
     "env[A]", "write one of them"),
    ({**VLLM, "topology": {"required": ["raack"]}}, "topology.required", "did you mean 'rack'?"),
    ({**VLLM, "roles": [{"name": "prefill"}, {"name": "decode", "args": ["--port=1"]}]}, "roles[decode].args",
     "--port"),
    ({**VLLM, "podTemplate": {"containers": []}}, "podTemplate.containers", "write it below spec"),
    ({**VLLM, "podTemplate": {"spec": {"hostname": "${model.nme}"}}}, "podTemplate.spec.hostname",
     "undefined field 'nme'"),
    ({**VLLM, "workload": "LeaderWorkerSet", "rollout": {"strategy": "Canary"}}, "rollout.strategy", "take Rolling"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "said"), REFUSED, ids=[f"{i}-{each[1]}" for i, each in enumerate(REFUSED)])
def test_what_cannot_run_is_told_in_the_terms_of_the_service(spec: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(Unservable) as refused:
        resolved(**spec)
    assert refused.value.field == field
    assert said in str(refused.value) and str(refused.value).startswith(f"spec.{field}")
