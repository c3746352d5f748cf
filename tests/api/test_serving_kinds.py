"""ModelAdapter, RoleScale and ServingRuntime: what is wrong is told with a remedy, what cannot change stays."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from api.served import obj, stored, updated
from fairlead.api import ModelAdapter, RoleScale, ServingRuntime

ADAPTER = {"service": "llama", "source": "hf://o/a"}
ROLE = {"service": "llama", "role": "decode"}


def test_an_adapter_with_its_defaults() -> None:
    made, errors = stored(obj("ModelAdapter", ADAPTER))
    assert errors == []
    assert made["spec"]["placement"] == {
        "minReplicas": 1, "maxReplicas": 0, "requestsPerReplica": 8.0, "idleSeconds": 300,
    }  # fmt: skip
    assert made["spec"]["rollout"] == {"paused": False}
    adapter = msgspec.convert(made, ModelAdapter)
    assert adapter.spec.placement.requests_per_replica == 8 and adapter.spec.rollout.steps == []


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"source": "hf://o/a"}, "spec.service: Required value"),
        ({**ADAPTER, "source": ""},
         'spec.source: Invalid value: "": an adapter needs a source: a folder or a URL such as hf://owner/name'),
        ({**ADAPTER, "source": "o/a"}, 'spec.source: Invalid value: "o/a": write an absolute path or a URL of these'),
        ({**ADAPTER, "name": "a~b"}, 'spec.name: Invalid value: "a~b": names that requests give have no commas'),
        ({**ADAPTER, "placement": {"minReplicas": 3, "maxReplicas": 2}},
         "spec.placement.maxReplicas: Invalid value: maxReplicas is 2, below minReplicas, which is 3"),
        ({**ADAPTER, "rollout": {"steps": [{"weight": 20}, {"weight": 10}]}},
         "spec.rollout.steps: Invalid value: weights of steps may only rise: put them in order"),
        ({**ADAPTER, "rollout": {"analysis": {"maxSeconds": 0}}}, "an undecided comparison would never end"),
        ({**ADAPTER, "verification": {"publicKeys": []}}, "nobody could have signed; give at least one key"),
        ({**ADAPTER, "baseModels": "m"}, 'unknown field "spec.baseModels"'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_adapter(spec: dict[str, Any], problem: str) -> None:
    _, errors = stored(obj("ModelAdapter", spec))
    assert any(problem in error for error in errors), errors


def test_an_adapter_stays_with_its_service() -> None:
    old, _ = stored(obj("ModelAdapter", ADAPTER))
    new = copy.deepcopy(old)
    new["spec"] |= {"service": "other", "source": "hf://o/b"}
    assert updated(old, new) == [
        'spec.service: Invalid value: "other": service cannot be changed: delete this adapter and make it anew for the '
        "other service"
    ]


def test_a_role_scale_changes_its_number_alone() -> None:
    old, errors = stored(obj("RoleScale", ROLE))
    assert errors == [] and msgspec.convert(old, RoleScale).spec.replicas == 0
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 4
    assert updated(old, new) == []
    new["spec"]["role"] = "prefill"
    assert updated(old, new) == [
        'spec.role: Invalid value: "prefill": role cannot be changed: this object comes and goes with its '
        "service's role"
    ]
    assert stored(obj("RoleScale", {**ROLE, "role": "router"}))[1] == [
        'spec.role: Unsupported value: "router": supported values: "decode", "encode", "prefill", "unified"'
    ]


def test_a_serving_runtime() -> None:
    spec = {
        "engine": "vllm", "image": "registry.example/vllm:1", "multiModel": False,
        "formats": [{"name": "safetensors", "priority": 2}], "architectures": ["LlamaForCausalLM"],
        "requiredArgs": ["--a"], "defaultArgs": ["--max-model-len ${model.maxContextTokens}"],
        "env": [{"name": "A", "value": "${model.name}"}], "resources": {"limits": {"cpu": 4}},
        "probes": {"liveness": {"tcpSocket": {"port": 8000}}}, "template": {"spec": {"hostIPC": True}},
    }  # fmt: skip
    made, errors = stored(obj("ServingRuntime", spec))
    assert errors == []
    assert msgspec.convert(made, ServingRuntime).spec.formats[0].priority == 2


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "spec.engine: Required value"),
        ({"engine": "vlm"}, 'spec.engine: Unsupported value: "vlm": supported values: "furiosa-llm", "jetstream", '),
        ({"engine": "vllm", "formats": [{"name": "a"}, {"name": "a"}]}, "spec.formats[1]: Duplicate value"),
        ({"engine": "vllm", "env": [{"name": "A", "valueFrom": {}}]}, "valueFrom names one of fieldRef"),
        ({"engine": "vllm", "containers": []}, 'unknown field "spec.containers"'),
    ],
)
def test_what_is_wrong_with_a_runtime(spec: dict[str, Any], problem: str) -> None:
    _, errors = stored(obj("ServingRuntime", spec))
    assert any(problem in error for error in errors), errors
