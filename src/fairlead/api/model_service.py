"""`ModelService`: a person says which model to serve; Fairlead keeps its replicas, pool and route."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fairlead.kube.resources import Resource

GROUP = "fairlead.dev"
VERSION = "v1alpha1"
MODEL_SERVICES = Resource.of(f"{GROUP}/{VERSION}", "modelservices", "ModelService")

# Pods are named after their service with a dash and five characters, and must stay DNS labels (63).
MAX_NAME_LENGTH = 57

# Pools list their model names separated by commas.
MODEL_NAME = r"^[^,\s]+$"


class _Kind(msgspec.Struct, rename="camel", omit_defaults=True):
    """Base of the structs of a kind: camelCase on the wire, defaults left out."""


class EnvVar(_Kind):
    """An environment variable of the engine."""

    name: Annotated[str, Meta(min_length=1, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
    value: str = ""


class Model(_Kind):
    """Which model, under which names."""

    name: Annotated[
        str,
        Meta(
            max_length=253,
            pattern=MODEL_NAME,
            extra_json_schema={"description": "The name that requests give in their `model` field."},
        ),
    ]
    source: Annotated[
        str,
        Meta(
            max_length=2048,
            pattern=r"^([a-z][a-z0-9+.-]*://.+|/.*)?$",
            extra_json_schema={
                "description": "Where the weights are: a URL (hf://, file://, …) or an absolute path. "
                "Empty for engines that need none."
            },
        ),
    ] = ""
    aliases: Annotated[
        list[Annotated[str, Meta(max_length=253, pattern=MODEL_NAME)]],
        Meta(
            max_length=16,
            extra_json_schema={
                "description": "Further names under which requests reach this model.",
                "x-kubernetes-list-type": "set",
            },
        ),
    ] = []


class Resources(_Kind):
    """Requests and limits of the engine's container, as in a pod."""

    requests: dict[str, str] = {}
    limits: dict[str, str] = {}


class ModelServiceSpec(_Kind):
    """What to serve and how often."""

    model: Model
    runtime: Annotated[
        Literal[
            "simulated",
            "vllm",
            "sglang",
            "tensorrt-llm",
            "triton",
            "llama-cpp",
            "furiosa-llm",
            "vllm-tpu",
            "jetstream",
            "tgi",
            "mlserver",
            "openvino",
            "onnx",
        ],
        Meta(extra_json_schema={"description": "Which model server runs the model."}),
    ]
    replicas: Annotated[
        int, Meta(ge=0, le=10_000, extra_json_schema={"description": "How many engines serve the model."})
    ] = 1
    command: Annotated[
        list[str],
        Meta(
            max_length=64,
            extra_json_schema={
                "description": "Program that starts the engine instead of the runtime's own; the runtime's arguments "
                "follow it.",
                "x-kubernetes-list-type": "atomic",
            },
        ),
    ] = []
    args: Annotated[
        list[str],
        Meta(
            max_length=256,
            extra_json_schema={
                "description": "Further arguments of the engine, after the runtime's own.",
                "x-kubernetes-list-type": "atomic",
            },
        ),
    ] = []
    env: Annotated[
        list[EnvVar],
        Meta(
            max_length=256,
            extra_json_schema={
                "description": "Environment variables of the engine.",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = []
    resources: Resources = msgspec.field(default_factory=Resources)
    node_selector: Annotated[
        dict[str, str], Meta(extra_json_schema={"description": "Labels that a node must have."})
    ] = {}
    termination_grace_period_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            extra_json_schema={"description": "How long streams may finish after a replica is told to stop."},
        ),
    ] = 30


class Condition(_Kind):
    """A `meta/v1` condition."""

    type: str
    status: str
    reason: str
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class ModelServiceStatus(_Kind):
    """What is there now."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    selector: str = ""
    conditions: Annotated[
        list[Condition],
        Meta(extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []


class ModelService(_Kind):
    """A model served by a number of equal engines behind the gateway."""

    metadata: dict[str, Any]
    spec: ModelServiceSpec
    status: ModelServiceStatus = msgspec.field(default_factory=ModelServiceStatus)
    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "ModelService"
