"""LLMInferenceService: what becomes of its fields, and what is said of those that have no place."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.serving.convert import Severity
from serving.convert.foreign import config, converted, engine_of, llm, losses_of, main, spec_of

GPU = {"limits": {"nvidia.com/gpu": "4", "memory": "64Gi"}, "requests": {"cpu": "4", "nvidia.com/gpu": 4}}


def test_a_plain_service() -> None:
    spec = spec_of(llm(replicas=3, router={"route": {}, "gateway": {}, "scheduler": {}}))
    assert spec == {"model": {"name": "org/model", "source": "hf://org/model"}, "runtime": "vllm", "replicas": 3}
    assert losses_of(llm(router={"route": {}})) == {}


def test_the_model_is_named_after_the_object_where_it_has_no_name() -> None:
    assert spec_of(llm(model={"uri": "hf://o/m"}))["model"]["name"] == "chat"


@pytest.mark.parametrize(
    ("uri", "model"),
    [
        ("hf://o/m:abc", {"source": "hf://o/m@abc"}),
        ("oci+native://r/m:1", {"source": "oci://r/m:1", "delivery": "ImageVolume"}),
        ("oci+fetch://r/m:1", {"source": "oci://r/m:1", "delivery": "Fetch"}),
        ("oci://r/m:1", {"source": "oci://r/m:1"}),
        ("pvc://claim/folder", {"source": "pvc://claim/folder"}),
        ("s3://bucket/m", {"source": "s3://bucket/m"}),
        ("gs://bucket/m", {"source": "gs://bucket/m"}),
        ("https://host/m.safetensors", {"source": "https://host/m.safetensors"}),
    ],
)
def test_sources(uri: str, model: dict[str, str]) -> None:
    made = spec_of(llm(model={"uri": uri, "name": "m"}))["model"]
    assert made == {"name": "m", **model}


def test_a_source_that_nothing_loads_is_said_and_nothing_is_made() -> None:
    conversion = converted(llm(model={"uri": "hdfs://host/m"}))
    assert conversion.objects == []
    (loss,) = conversion.converted[0].losses
    assert (loss.field, loss.value, loss.severity) == ("spec.model.uri", "hdfs://host/m", Severity.LOST)
    assert "hdfs://" in loss.why and "fairlead model push" in loss.why


@pytest.mark.parametrize(
    ("fields", "worker", "made"),
    [
        ({"tensor": 4}, False, {"tensor": 4}),
        ({"tensor": 4, "pipeline": 2}, True, {"tensor": 4, "pipeline": 2, "hosts": 2}),
        ({"data": 32, "dataLocal": 8, "tensor": 1, "expert": True}, True, {"data": 32, "expert": 32, "hosts": 4}),
        ({"data": 16, "dataLocal": 8, "tensor": 2}, True, {"tensor": 2, "data": 16, "hosts": 2}),
        ({"data": 4}, True, {"data": 4, "hosts": 4}),
        ({"data": 8, "dataLocal": 8}, False, {"data": 8}),
    ],
)  # fmt: skip
def test_parallelism(fields: dict[str, Any], worker: bool, made: dict[str, int]) -> None:
    obj = llm(parallelism=fields, template=main(), **({"worker": main()} if worker else {}))
    assert spec_of(obj)["parallelism"] == made
    assert "spec.parallelism" not in losses_of(obj)


def test_hosts_that_do_not_divide_the_ranks_are_said() -> None:
    obj = llm(parallelism={"data": 7, "dataLocal": 2}, worker=main())
    assert spec_of(obj)["parallelism"] == {"data": 7}
    assert losses_of(obj)["spec.parallelism"].severity is Severity.ATTENTION


def test_workers_without_a_number_are_said() -> None:
    assert "hosts is 1" in losses_of(llm(worker=main()))["spec.parallelism"].why


def test_the_main_container_becomes_the_engine_and_the_rest_is_laid_over() -> None:
    template = {
        "serviceAccountName": "puller", "tolerations": [{"operator": "Exists"}], "nodeSelector": {"pool": "gpu"},
        "terminationGracePeriodSeconds": 90, "priorityClassName": "high",
        "containers": [
            {"name": "main", "image": "vllm/vllm-openai:v1", "resources": GPU, "env": [{"name": "A", "value": "${B}"}],
             "livenessProbe": {"httpGet": {"path": "/health", "port": 8000}, "failureThreshold": 9},
             "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}]},
            {"name": "log", "image": "log:1", "args": ["${HOME}"]},
        ],
        "volumes": [{"name": "shm", "emptyDir": {}}],
    }  # fmt: skip
    spec = spec_of(llm(template=template))
    assert spec["accelerators"] == [{"name": "nvidia-com-gpu", "resource": "nvidia.com/gpu", "count": 4}]
    assert spec["resources"] == {"limits": {"memory": "64Gi"}, "requests": {"cpu": "4"}}
    assert spec["env"] == [{"name": "A", "value": "${B}"}]
    assert (spec["nodeSelector"], spec["terminationGracePeriodSeconds"]) == ({"pool": "gpu"}, 90)
    assert spec["priorityClassName"] == "high"
    pod = spec["podTemplate"]["spec"]
    assert pod["serviceAccountName"] == "puller" and pod["volumes"] == [{"name": "shm", "emptyDir": {}}]
    assert engine_of(spec) == {
        "name": "engine", "image": "vllm/vllm-openai:v1", "livenessProbe": {"failureThreshold": 9},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }  # fmt: skip
    # In an overlay `${` begins an expression: that of the original is a shell's.
    assert pod["containers"][1] == {"name": "log", "image": "log:1", "args": ["$${HOME}"]}


def test_arguments_in_the_variable_that_kserve_adds() -> None:
    value = "--max-model-len 8192 --gpu-memory-utilization=0.95 --enforce-eager --hf-overrides '{\"a\": 1}'"
    spec = spec_of(llm(template=main(env=[{"name": "VLLM_ADDITIONAL_ARGS", "value": value}])))
    assert spec["model"]["maxContextTokens"] == 8192
    assert spec["kvCache"] == {"memoryPercent": 95}
    assert spec["args"] == ["--enforce-eager", "--hf-overrides", '{"a": 1}']
    assert "env" not in spec


def test_a_start_script() -> None:
    script = """
      exec vllm serve /mnt/models \\
        --served-model-name "{{ .Spec.Model.Name }}" other \\
        --port 8000 --tensor-parallel-size 2 --seed $SEED \\
        ${VLLM_ADDITIONAL_ARGS} "$@"
    """
    env = [{"name": "SEED", "value": "7"}, {"name": "VLLM_ADDITIONAL_ARGS", "value": "--enforce-eager"}]
    template = main(command=["/bin/sh", "-c", script, "--"], args=["--max-num-seqs", "8"], env=env)
    spec = spec_of(llm(template=template))
    assert spec["model"] == {"name": "org/model", "source": "hf://org/model", "aliases": ["other"]}
    assert spec["parallelism"] == {"tensor": 2}
    assert spec["args"] == ["--seed", "7", "--enforce-eager", "--max-num-seqs", "8"]
    assert "command" not in spec


def test_prefill_and_decode() -> None:
    def arguments(role: str) -> list[dict[str, str]]:
        text = f'--kv-transfer-config \'{{"kv_connector":"NixlConnector","kv_role":"{role}"}}\''
        return [{"name": "VLLM_ADDITIONAL_ARGS", "value": text}]

    obj = llm(
        replicas=4, template=main(env=arguments("kv_consumer")), rolloutStrategy={"maxSurge": "50%"},
        prefill={"replicas": 2, "template": main(env=arguments("kv_producer")), "parallelism": {"tensor": 2}},
    )  # fmt: skip
    spec = spec_of(obj)
    assert spec["replicas"] == 2 and spec["kvTransfer"] == {"connector": "NixlConnector"}
    assert spec["roles"] == [
        {"name": "prefill", "replicas": 1, "parallelism": {"tensor": 2}}, {"name": "decode", "replicas": 2},
    ]  # fmt: skip
    assert spec["rollout"] == {"maxSurge": "50%"}


def test_connectors_that_differ_stay_arguments() -> None:
    env = [{"name": "VLLM_ADDITIONAL_ARGS", "value": '--kv-transfer-config \'{"kv_connector":"A"}\''}]
    spec = spec_of(llm(template=main(env=env), prefill={}))
    assert "kvTransfer" not in spec
    assert spec["roles"][1]["args"] == ["--kv-transfer-config", '{"kv_connector":"A"}']


def test_scaling_bounds() -> None:
    spec = spec_of(llm(scaling={"minReplicas": 2, "maxReplicas": 5, "keda": {"pollingInterval": 5}}))
    assert (spec["replicas"], spec["scaling"]) == (2, {"minReplicas": 2, "maxReplicas": 5})
    assert "HPA" in losses_of(llm(scaling={"maxReplicas": 5, "keda": {"pollingInterval": 5}}))["spec.scaling.keda"].why
    roles = spec_of(llm(scaling={"maxReplicas": 4}, prefill={"replicas": 2}))["roles"]
    assert roles[1] == {"name": "decode", "replicas": 1, "scaling": {"minReplicas": 1, "maxReplicas": 4}}


def test_adapters_become_objects_of_their_own() -> None:
    lora = {
        "maxRank": 32, "maxAdapters": 2, "maxCpuAdapters": 4,
        "adapters": [{"name": "sql", "uri": "hf://o/sql"}, {"name": "Team/Style", "uri": "s3://b/style"}],
    }  # fmt: skip
    conversion = converted(llm(model={"uri": "hf://o/m", "name": "m", "lora": lora}))
    service, *adapters = conversion.objects
    assert service["spec"]["adapters"] == {"slots": 2, "maxRank": 32, "fetch": True}
    assert service["spec"]["args"] == ["--max-cpu-loras", "4"]
    assert [a["metadata"] for a in adapters] == [
        {"name": "chat-sql", "namespace": "prod"}, {"name": "chat-team-style", "namespace": "prod"},
    ]  # fmt: skip
    assert adapters[1]["spec"] == {
        "service": "chat", "source": "s3://b/style", "name": "Team/Style", "baseModel": "o/m",
    }  # fmt: skip


def test_devices_of_a_claim_by_annotation() -> None:
    notes = {
        "serving.kserve.io/exp-dra-device-class": "gpu.nvidia.com",
        "serving.kserve.io/exp-dra-device-count": "2",
        "serving.kserve.io/exp-dra-cel-selector": "a > 1\n\n b < 2 \n",
        "team": "ml",
    }
    spec = spec_of(llm(annotations=notes))
    assert spec["accelerators"] == [
        {"name": "claimed", "deviceClass": "gpu.nvidia.com", "count": 2, "selectors": ["a > 1", "b < 2"]}
    ]
    assert spec["podTemplate"]["metadata"]["annotations"] == {"team": "ml"}


def test_criticality_of_the_first_version() -> None:
    obj = llm(version="v1alpha1", model={"uri": "hf://o/m", "criticality": "Critical"})
    assert spec_of(obj)["objectives"] == [{"name": "critical", "priority": 10}]
    assert "x-gateway-inference-objective" in losses_of(obj)["spec.model.criticality"].why


def test_offloading_tracing_and_the_initializer() -> None:
    obj = llm(
        kvCacheOffloading={"cpu": "10Gi", "evictionPolicy": "lru"}, storageInitializer={"enabled": False},
        tracing={"exporterEndpoint": "http://otel:4317", "sampler": "always_on"},
    )  # fmt: skip
    spec = spec_of(obj)
    assert spec["kvCache"] == {"offload": "10Gi"} and spec["model"]["delivery"] == "Engine"
    assert spec["args"] == ["--otlp-traces-endpoint", "http://otel:4317"]
    assert {"name": "OTEL_TRACES_SAMPLER", "value": "always_on"} in spec["env"]
    assert losses_of(obj)["spec.kvCacheOffloading.evictionPolicy"].severity is Severity.LOST


def test_what_the_router_says_is_lost_by_name() -> None:
    router = {
        "route": {"http": {"refs": [{"name": "r"}]}}, "scheduler": {"replicas": 2}, "gateway": {"refs": [{"name": "g"}]}
    }  # fmt: skip
    losses = losses_of(llm(router=router))
    assert {field: loss.severity for field, loss in losses.items()} == {
        "spec.router.route": Severity.LOST,
        "spec.router.scheduler": Severity.LOST,
        "spec.router.gateway": Severity.LOST,
    }  # fmt: skip
    assert "fairlead epp" in losses["spec.router.scheduler"].why


def test_configs_are_merged_the_last_one_first() -> None:
    base = config("base", replicas=5, template=main(image="vllm:1", env=[{"name": "A", "value": "base"}]))
    over = config("over", template=main(env=[{"name": "A", "value": "over"}, {"name": "B", "value": "{{ .Name }}"}]))
    obj = llm(baseRefs=[{"name": "base"}, {"name": "over"}], template=main(env=[{"name": "C", "value": "own"}]))
    conversion = converted(obj, base, over)
    spec = conversion.objects[0]["spec"]
    assert spec["replicas"] == 5 and engine_of(spec)["image"] == "vllm:1"
    assert {e["name"]: e["value"] for e in spec["env"]} == {"A": "over", "B": "chat", "C": "own"}
    assert [loss.severity for loss in conversion.converted[1].losses] == [Severity.NOTE]


def test_a_config_that_is_not_there_needs_attention_and_one_that_nobody_names_is_said() -> None:
    missing = losses_of(llm(baseRefs=[{"name": "gone"}]))["spec.baseRefs[0].name"]
    assert (missing.value, missing.severity) == ("gone", Severity.ATTENTION)
    (loss,) = converted(config("lonely", replicas=2)).converted[0].losses
    assert loss.severity is Severity.LOST and "baseRefs" in loss.why


def test_a_name_that_is_too_long_gets_another_and_that_is_said() -> None:
    name = "a" * 60
    conversion = converted(llm(name))
    assert len(conversion.objects[0]["metadata"]["name"]) == 40
    assert [loss.field for loss in conversion.converted[0].losses] == ["metadata.name"]


def test_the_token_of_the_hub_is_the_models_secret_too() -> None:
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}}
    spec = spec_of(llm(template=main(env=[token])))
    assert spec["model"]["pullSecret"] == "hub" and spec["env"] == [token]


def test_another_runtime_takes_the_place_and_the_engines_own_words_are_lost() -> None:
    template = main(image="vllm:1", args=["--enforce-eager"], env=[{"name": "A", "value": "1"}])
    spec = spec_of(llm(template=template), runtime="simulated")
    assert spec["runtime"] == "simulated" and "args" not in spec and "podTemplate" not in spec
    assert losses_of(llm(template=template), runtime="simulated")["spec.template.containers[0].image"].value == "vllm:1"


def test_workers_that_differ_from_their_leader() -> None:
    worker = {"nodeSelector": {"pool": "w"}, **main(env=[{"name": "A", "value": "w"}], image="vllm:1")}
    obj = llm(parallelism={"data": 4}, template=main(env=[{"name": "A", "value": "l"}], image="vllm:1"), worker=worker)
    over = spec_of(obj)["workerTemplate"]["spec"]
    assert over["nodeSelector"] == {"pool": "w"}
    assert over["containers"] == [{"name": "engine", "image": "vllm:1", "env": [{"name": "A", "value": "w"}]}]


def test_workers_keep_all_of_their_own_resources() -> None:
    worker = main(resources={"limits": {"nvidia.com/gpu": 8, "memory": "9Gi"}})
    obj = llm(parallelism={"data": 2}, template=main(resources=GPU), worker=worker)
    limits = spec_of(obj)["workerTemplate"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "9Gi", "nvidia.com/gpu": "8"}
