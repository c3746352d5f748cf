"""`ServingRuntime`: the serving class. Which models an engine takes, and how its pods look before a service adds to
them.

One of each engine that Fairlead knows is installed; others are made beside them, or the installed ones changed.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from fairlead.api.kind import API_VERSION, ATOMIC, Kind, Overlay, list_map
from fairlead.api.model_service.workload import EnvVar, Probes, Resources
from fairlead.api.pod_parts import OVERLAY
from fairlead.api.structural import told
from fairlead.kube.resources import Resource

SERVING_RUNTIMES = Resource.of(API_VERSION, "servingruntimes", "ServingRuntime", namespaced=False)

ENGINES = (
    "furiosa-llm", "jetstream", "llama-cpp", "mlserver", "onnx", "openvino", "sglang", "simulated", "tensorrt-llm",
    "tgi", "triton", "vllm", "vllm-tpu",
)  # fmt: skip
"""Those that `fairlead.engines` has."""

_Text = Annotated[str, msgspec.Meta(max_length=4096)]


class ModelFormat(Kind):
    """A format of weights that the runtime takes."""

    name: Annotated[str, told("As safetensors, gguf, onnx.", min_length=1, max_length=63)]
    priority: Annotated[
        int,
        told("Services without a runtime get that of the highest priority; 0: only those that name it.", ge=0, le=1000),
    ] = 0


class ServingRuntimeSpec(Kind):
    """How pods of this class look. In `args`, `env`, `command` and `template`, `${…}` is a CEL expression over
    `model`, `service`, `role`, `parallelism`, `accelerator` and `engine`; `$${` stands for `${` itself."""

    engine: Annotated[
        str,
        told("Which adapter speaks to it; `fairlead engines` tells of them.", {"enum": list(ENGINES)}, max_length=63),
    ]
    image: Annotated[str, told("In place of the engine's own.", max_length=1024)] = ""
    formats: Annotated[list[ModelFormat], told("Formats it takes.", list_map("name"), max_length=32)] = []
    architectures: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=253)]],
        told("Architectures it takes, as in config.json; empty for any.", ATOMIC, max_length=256),
    ] = []
    multi_model: Annotated[bool, told("Whether one engine serves several models.")] = False
    command: Annotated[list[_Text], told("Program in place of the engine's own.", ATOMIC, max_length=64)] = []
    required_args: Annotated[list[_Text], told("Arguments that no service can change.", ATOMIC, max_length=256)] = []
    default_args: Annotated[
        list[_Text],
        told(
            "Arguments of services that do not say otherwise: one flag, with its value, in each text.",
            ATOMIC,
            max_length=256,
        ),
    ] = []
    env: Annotated[list[EnvVar], told("Environment of the engine.", list_map("name"), max_length=256)] = []
    resources: Annotated[Resources, told("Requests and limits of services that say nothing of them.")] = msgspec.field(
        default_factory=Resources
    )
    probes: Annotated[Probes, told("In place of the engine's own, as in a pod.")] | None = None
    template: Overlay = {}
    worker_template: Annotated[
        dict[str, Any], told("The same of the workers of a replica of several hosts, in place of template.", OVERLAY)
    ] = {}
    disabled: Annotated[bool, told("Whether no new service may use it.")] = False


class ServingRuntime(Kind):
    """A class of model servers."""

    metadata: dict[str, Any]
    spec: ServingRuntimeSpec
    api_version: str = API_VERSION
    kind: str = "ServingRuntime"
