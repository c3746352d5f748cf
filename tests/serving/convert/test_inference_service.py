"""InferenceService v1beta1: models, older predictors, containers of their own; runtimes and what is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.serving.convert import Severity
from serving.convert.foreign import converted, engine_of, foreign, isvc, losses_of, runtime, spec_of

VLLM: dict[str, Any] = {"modelFormat": {"name": "vLLM"}, "storageUri": "hf://o/m"}


TRITON: dict[str, Any] = {"modelFormat": {"name": "pytorch"}, "runtime": "kserve-tritonserver"}


def sklearn(**fields: Any) -> dict[str, Any]:
    return {"storageUri": "gs://b/iris", "protocolVersion": "v2", **fields}


@pytest.mark.parametrize(
    ("predictor", "taken", "format_"),
    [
        ({"sklearn": sklearn()}, "mlserver", "sklearn"),
        ({"xgboost": sklearn()}, "mlserver", "xgboost"),
        ({"onnx": sklearn()}, "onnx", "onnx"),
        ({"tensorflow": sklearn()}, "openvino", "tensorflow"),
        ({"triton": sklearn()}, "triton", "triton"),
        ({"model": {**sklearn(), "modelFormat": {"name": "lightgbm"}}}, "mlserver", "lightgbm"),
        ({"model": {**sklearn(), **TRITON}}, "triton", "triton"),
        ({"model": VLLM}, "vllm", ""),
        ({"huggingface": {"args": ["--model_id=o/m", "--model_revision=abc"]}}, "vllm", ""),
    ],
)  # fmt: skip
def test_the_format_decides_who_serves(predictor: dict[str, Any], taken: str, format_: str) -> None:
    spec = spec_of(isvc(**predictor))
    assert (spec["runtime"], spec["model"].get("format", "")) == (taken, format_)
    assert spec["model"]["name"] == "iris" and spec["model"]["source"]


@pytest.mark.parametrize("name", ["pytorch", "pmml"])
def test_formats_that_nothing_takes_are_said(name: str) -> None:
    conversion = converted(isvc(**{name: sklearn()}))
    assert conversion.objects == []
    assert conversion.converted[0].losses[0].value == name


def test_scikit_learn_is_told_to_mlserver_by_variables() -> None:
    spec = spec_of(isvc(sklearn=sklearn()))
    assert spec["env"] == [{"name": "MLSERVER_MODEL_IMPLEMENTATION", "value": "mlserver_sklearn.SKLearnModel"}]
    assert engine_of(spec)["env"] == [{"name": "MLSERVER_MODEL_URI", "value": "${model.path}"}]


def test_clients_of_the_first_protocol_have_to_be_changed() -> None:
    losses = losses_of(isvc(sklearn={"storageUri": "gs://b/iris"}))
    said = losses["spec.predictor.sklearn.protocolVersion"]
    assert said.severity is Severity.ATTENTION and "v1, the default" in said.why


def test_hugging_faces_server_gives_way_to_vllm() -> None:
    args = ["--model_name=llama", "--model_id=o/m", "--model_revision=abc", "--max-model-len=4096", "--dtype=half",
            "--backend=huggingface"]  # fmt: skip
    obj = isvc(model={"modelFormat": {"name": "huggingface"}, "args": args, "image": "kserve/huggingfaceserver:v1"})
    spec = spec_of(obj)
    assert spec["model"] == {"name": "llama", "source": "hf://o/m@abc", "maxContextTokens": 4096}
    assert spec["args"] == ["--dtype", "half"]
    lost = [loss for loss in converted(obj).converted[0].losses if loss.severity is Severity.LOST]
    assert [loss.value for loss in lost] == ["--backend huggingface"]


def test_replicas_canary_and_bounds() -> None:
    spec = spec_of(isvc(model=VLLM, minReplicas=0, maxReplicas=3, canaryTrafficPercent=20))
    assert (spec["replicas"], spec["scaling"]) == (1, {"minReplicas": 0, "maxReplicas": 3})
    assert spec["rollout"] == {"strategy": "Canary", "canary": {"steps": [{"weight": 20, "pause": True}]}}
    # Engines of one name only cannot be sent a share by name.
    assert spec_of(isvc(sklearn=sklearn(), canaryTrafficPercent=20))["rollout"]["strategy"] == "BlueGreen"


def test_a_stopped_service_stays_stopped() -> None:
    obj = isvc(model=VLLM, minReplicas=2, annotations={"serving.kserve.io/stop": "true"})
    spec = spec_of(obj)
    assert (spec["replicas"], spec["scaling"]["minReplicas"]) == (0, 0)


def test_what_has_no_counterpart_is_named() -> None:
    obj = isvc(
        model=VLLM, batcher={"maxBatchSize": 8}, logger={"mode": "all"}, timeout=60, scaleTarget=5,
        scaleMetric="rps", annotations={"serving.kserve.io/deploymentMode": "RawDeployment"},
    )  # fmt: skip
    obj["spec"] |= {"transformer": {"containers": [{"image": "t"}]}, "explainer": {"art": {"type": "x"}}}
    losses = losses_of(obj)
    for field in ("transformer", "explainer", "predictor.batcher", "predictor.logger", "predictor.timeout",
                  "predictor.scaleTarget", "predictor.scaleMetric"):  # fmt: skip
        assert losses[f"spec.{field}"].severity is Severity.LOST
    assert losses["metadata.annotations[serving.kserve.io/deploymentMode]"].severity is Severity.CHANGED


def test_a_container_of_its_own() -> None:
    container = {
        "name": "kserve-container", "image": "vllm/vllm-openai:v1", "command": ["vllm", "serve"],
        "args": ["/mnt/models", "--port=8080", "--max-num-seqs=4"],
        "env": [{"name": "STORAGE_URI", "value": "s3://b/m"}, {"name": "HOME_OF", "value": "/mnt/models/x"}],
        "ports": [{"containerPort": 8080}],
    }  # fmt: skip
    spec = spec_of(isvc(containers=[container], serviceAccountName="s3"))
    assert spec["model"]["source"] == "s3://b/m" and spec["args"] == ["--max-num-seqs", "4"]
    assert engine_of(spec) == {
        "name": "engine", "image": "vllm/vllm-openai:v1", "env": [{"name": "HOME_OF", "value": "${model.path}/x"}],
    }  # fmt: skip


def test_a_second_word_on_the_serving_container_is_no_sidecar() -> None:
    obj = isvc(model=VLLM, containers=[{"name": "kserve-container", "tty": True}, {"name": "log", "image": "log:1"}])
    assert spec_of(obj)["podTemplate"]["spec"]["containers"] == [{"name": "log", "image": "log:1"}]
    assert losses_of(obj)["spec.predictor.containers[0]"].severity is Severity.LOST


def test_a_container_that_nobody_knows() -> None:
    conversion = converted(isvc(containers=[{"name": "kserve-container", "image": "my/server:1"}]))
    assert conversion.objects == []
    (loss,) = conversion.converted[0].losses
    assert "--runtime" in loss.why and loss.severity is Severity.LOST


def test_several_hosts() -> None:
    obj = isvc(
        model={**VLLM, "resources": {"limits": {"nvidia.com/gpu": 2}}},
        workerSpec={"pipelineParallelSize": 2, "tensorParallelSize": 2},
    )
    assert spec_of(obj)["parallelism"] == {"tensor": 2, "pipeline": 2, "hosts": 2}


def test_runtimes_of_the_input_are_taken_as_kserve_would() -> None:
    def of(name: str, priority: int, kind: str = "ClusterServingRuntime") -> dict[str, Any]:
        formats = [{"name": "vLLM", "autoSelect": True, "priority": priority}]
        return runtime(
            name, kind, supportedModelFormats=formats, containers=[{"name": "kserve-container", "image": "vllm:1"}]
        )

    low, high = of("low", 1), of("high", 2)
    assert spec_of(isvc(model=VLLM), low, high)["runtime"] == "high"
    assert spec_of(isvc(model={**VLLM, "runtime": "low"}), low, high)["runtime"] == "low"
    assert spec_of(isvc(model=VLLM), high, of("mine", 1, "ServingRuntime"))["runtime"] == "mine"
    said = losses_of(isvc(model={**VLLM, "runtime": "gone"}))["spec.predictor.model.runtime"]
    assert said.severity is Severity.ATTENTION


def test_storage_by_key() -> None:
    storage = {"key": "minio", "path": "sklearn/iris"}
    alone = converted(isvc(sklearn={"storage": storage}))
    assert alone.objects == [] and "storage-config" in alone.converted[0].losses[0].why
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "storage-config", "namespace": "prod"},
        "stringData": {"minio": json.dumps({"type": "s3", "bucket": "models"})},
    }  # fmt: skip
    assert spec_of(isvc(sklearn={"storage": storage}), secret)["model"]["source"] == "s3://models/sklearn/iris"
    own = {**storage, "parameters": {"type": "gs", "bucket": "b"}}
    assert spec_of(isvc(sklearn={"storage": own}))["model"]["source"] == "gs://b/sklearn/iris"


def test_the_secret_of_a_service_account() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa", "namespace": "prod"},
               "secrets": [{"name": "keys"}]}  # fmt: skip
    obj = isvc(model={**VLLM, "storageUri": "s3://b/m"}, serviceAccountName="sa")
    assert spec_of(obj, account)["model"]["pullSecret"] == "keys"
    assert "pullSecret" not in spec_of(obj)["model"]
    assert losses_of(obj)["spec.predictor.serviceAccountName"].severity is Severity.ATTENTION


def test_trained_models_are_services_of_their_own() -> None:
    def trained(name: str, uri: str) -> dict[str, Any]:
        model = {"framework": "sklearn", "storageUri": uri, "memory": "256Mi"}
        metadata = {"name": name, "namespace": "prod"}
        return foreign("TrainedModel", "v1alpha1", metadata, {"inferenceService": "iris", "model": model})

    parent = isvc(sklearn={"protocolVersion": "v2", "resources": {"limits": {"cpu": "1"}}})
    conversion = converted(parent, trained("one", "gs://b/1"), trained("two", "gs://b/2"))
    assert [obj["metadata"]["name"] for obj in conversion.objects] == ["one", "two"]
    spec = conversion.objects[0]["spec"]
    assert spec["model"] == {"name": "one", "source": "gs://b/1", "format": "sklearn"}
    assert spec["resources"] == {"limits": {"cpu": "1"}, "requests": {"memory": "256Mi"}}
    # Also without their InferenceService.
    assert converted(trained("one", "gs://b/1")).objects[0]["spec"]["runtime"] == "mlserver"


def test_a_cached_model_is_pinned() -> None:
    spec = {"sourceModelUri": "hf://o/m", "modelSize": "10Gi", "nodeGroups": ["workers"]}
    cache = foreign("LocalModelCache", "v1alpha1", {"name": "m"}, spec)
    assert spec_of(isvc(model=VLLM), cache)["model"]["pinned"] is True
    assert "pinned" not in spec_of(isvc(model={**VLLM, "storageUri": "hf://o/mm"}), cache)["model"]
    losses = {loss.field: loss for loss in converted(cache).converted[0].losses}
    assert losses["spec.nodeGroups"].severity is Severity.LOST


@pytest.mark.parametrize("kind", ["InferenceGraph", "LocalModelNodeGroup", "ClusterStorageContainer"])
def test_kinds_without_a_counterpart_are_said(kind: str) -> None:
    conversion = converted(foreign(kind, "v1alpha1", {"name": "a"}, {"x": 1}))
    assert conversion.objects == [] and conversion.count(Severity.LOST) == 1


def test_other_objects_pass_through_as_they_are() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"x": None}}
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": {}}
    odd = {"apiVersion": "example.org/v1", "kind": "Odd", "metadata": {"name": "o"}}
    new = foreign("SomethingNew", "v9", {"name": "n"}, {"x": 1})
    conversion = converted(service, route, odd, new)
    assert conversion.objects == [service, route, odd, new]
    said = [[loss.severity for loss in each.losses] for each in conversion.converted]
    assert said == [[], [Severity.ATTENTION], [Severity.NOTE], [Severity.ATTENTION]]
