"""ServingRuntime and ClusterServingRuntime: the engine in them, its arguments, and what services say instead."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.serving.convert import Severity
from serving.convert.foreign import Json, converted, isvc, runtime


def container(**fields: Any) -> list[Json]:
    return [{"name": "kserve-container", **fields}]


def made(*objects: Json) -> tuple[Json, dict[str, Any]]:
    """The first object's runtime, and what is said of it."""
    first = converted(*objects).converted[0]
    (obj,) = first.objects
    return obj, {loss.field: loss for loss in first.losses}


def test_vllm_with_expressions_in_place_of_templates() -> None:
    args = ["--port=8080", "--model=/mnt/models", "--served-model-name={{.Name}}", "--lora-modules", "a=/mnt/models/a",
            "--chat-template", "${HOME}/{{.Annotations.template}}", "--enforce-eager"]  # fmt: skip
    formats = [{"name": "vLLM", "version": "1", "autoSelect": True, "priority": 3}, {"name": "pytorch"}]
    obj, losses = made(
        runtime("mine", supportedModelFormats=formats, protocolVersions=["v2"], tolerations=[{"operator": "Exists"}],
                containers=container(image="vllm/vllm-openai:v1", args=args, command=["vllm", "serve"],
                                     env=[{"name": "A", "value": "{{.Namespace}}${B}"}]))
    )  # fmt: skip
    assert obj["metadata"] == {"name": "mine"}
    assert obj["spec"] == {
        "engine": "vllm", "image": "vllm/vllm-openai:v1",
        "formats": [{"name": "safetensors", "priority": 3}, {"name": "pytorch"}],
        "defaultArgs": [
            "--lora-modules a=${model.path}/a",
            "--chat-template $${HOME}/${service.annotations['template']}", "--enforce-eager",
        ],
        "env": [{"name": "A", "value": "${service.namespace}$${B}"}],
        "template": {"spec": {"tolerations": [{"operator": "Exists"}]}},
    }  # fmt: skip
    assert losses["spec.supportedModelFormats[0].version"].severity is Severity.LOST
    assert losses["spec.protocolVersions"].severity is Severity.CHANGED


@pytest.mark.parametrize(
    ("server_type", "engine", "keeps_image"),
    [("vllmserver", "vllm", True), ("tritonserver", "triton", True), ("sklearnserver", "mlserver", False),
     ("huggingfaceserver", "vllm", False)],
)  # fmt: skip
def test_the_server_type_decides(server_type: str, engine: str, keeps_image: bool) -> None:
    obj = runtime("mine", containers=container(image="registry/thing:1"))
    obj["metadata"]["annotations"] = {"serving.kserve.io/server-type": server_type}
    found, _ = made(obj)
    assert (found["spec"]["engine"], "image" in found["spec"]) == (engine, keeps_image)


@pytest.mark.parametrize("image", ["pytorch/torchserve-kfs:0.9.0", "my/own:1"])
def test_engines_that_fairlead_does_not_speak_to_are_said(image: str) -> None:
    conversion = converted(runtime("mine", containers=container(image=image)))
    assert conversion.objects == []
    (loss,) = conversion.converted[0].losses
    assert (loss.field, loss.value, loss.severity) == ("spec.containers", image, Severity.LOST)


def test_a_service_that_names_a_runtime_without_an_engine_is_not_made_either() -> None:
    service = isvc(model={"modelFormat": {"name": "x"}, "runtime": "mine", "storageUri": "s3://b/m"})
    conversion = converted(service, runtime("mine", containers=container(image="my/own:1")))
    assert conversion.objects == []
    assert conversion.converted[0].losses[0].field == "spec.predictor.model.runtime"


def test_runtimes_of_namespaces_are_the_clusters_and_names_stay_apart() -> None:
    one = runtime("vllm", "ServingRuntime", containers=container(image="vllm:1"))
    two = runtime("vllm", containers=container(image="vllm:2"))
    service = isvc(model={"modelFormat": {"name": "vLLM"}, "runtime": "vllm", "storageUri": "s3://b/m"})
    conversion = converted(one, two, service)
    names = [obj["metadata"]["name"] for obj in conversion.objects]
    # Fairlead brings a runtime vllm of its own; the service's namespace goes before the cluster.
    assert names == ["kserve-prod-vllm", "kserve-vllm", "iris"]
    assert conversion.objects[2]["spec"]["runtime"] == "kserve-prod-vllm"


def test_sizes_of_workers_come_over_with_services() -> None:
    formats = [{"name": "huggingface", "autoSelect": True}]
    workers = {"tensorParallelSize": 2, "pipelineParallelSize": 4, "containers": [{"name": "worker-container"}]}
    multi = runtime("multi", supportedModelFormats=formats, workerSpec=workers, containers=container(image="vllm:1"))
    model = {"modelFormat": {"name": "huggingface"}, "storageUri": "s3://b/m"}
    spec = converted(isvc(model=model, workerSpec={}), multi).objects[0]["spec"]
    assert (spec["runtime"], spec["parallelism"]) == ("multi", {"tensor": 2, "pipeline": 4, "hosts": 4})
    # Without workers it is none of the runtimes for several hosts, as in KServe.
    assert converted(isvc(model=model), multi).objects[0]["spec"]["runtime"] == "vllm"
