"""InferencePool v1 of the Gateway API Inference Extension, as Fairlead reads and writes it.

Protocol: kubernetes-sigs/gateway-api-inference-extension, group `inference.networking.k8s.io`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.kube.resources import Resource

INFERENCE_POOLS = Resource.of("inference.networking.k8s.io/v1", "inferencepools", "InferencePool")

MODELS_ANNOTATION = "fairlead.dev/models"
"""Comma-separated names under which requests reach the pool; the first is the model's own."""

VERSION_OF_ANNOTATION = "fairlead.dev/version-of"
"""On an InferencePool: the pool of its namespace of which it is another version. Requests are the same ones, and so the
InferenceObjectives of that pool are for them, too."""
KNOWN_NAMES_ANNOTATION = "fairlead.dev/known-names"
"""On an InferencePool: comma-separated names that its engines answer to though requests for them do not come here by
themselves. What a rule sends here under one of them reaches the engine as it came, so that the answer has the name that
was asked for."""

ADAPTERS_ANNOTATION = "fairlead.dev/adapters"
"""On an InferencePool: comma-separated names of the LoRA adapters that its engines serve. On a pod: those of them that
are loaded there."""
ADAPTER_PLACEMENT_ANNOTATION = "fairlead.dev/adapter-placement"
"""On an InferencePool, `pods`: each of its pods says which adapters it has, and one that says nothing has none."""
ADAPTER_STARTS_ANNOTATION = "fairlead.dev/adapter-starts"
"""On a pod: how often its containers had been restarted when it said which adapters it has. What is loaded while an
engine runs is gone with its next start, so the word of an earlier one does not count."""
ADAPTERS_ASKED_ANNOTATION = "fairlead.dev/adapters-asked"
"""On an InferencePool: a JSON object of adapters that requests wait for and no engine has, each with the RFC 3339 time
of the last time a picker asked."""

ADAPTER_LABEL = "fairlead.dev/model-adapter"
"""On an InferenceModelRewrite: its targets are LoRA adapters, and each pod of its pool says which it has, as with
`ADAPTER_PLACEMENT_ANNOTATION`. What the rule and the pool say may reach a gateway in either order."""


class _Kind(msgspec.Struct, rename="camel", omit_defaults=True):
    pass


class TargetPort(_Kind):
    number: int


class PoolSelector(_Kind):
    match_labels: dict[str, str] = {}


class PickerPort(_Kind):
    number: int


class EndpointPickerRef(_Kind):
    name: str
    group: str = ""
    kind: str = "Service"
    port: PickerPort | None = None
    failure_mode: str = "FailClose"


class InferencePoolSpec(_Kind):
    selector: PoolSelector
    target_ports: list[TargetPort]
    app_protocol: str = "http"
    endpoint_picker_ref: EndpointPickerRef | None = None


class InferencePool(_Kind):
    """Pods that serve the same model and share a picker; each (pod, target port) is an endpoint."""

    metadata: dict[str, Any]
    spec: InferencePoolSpec
    api_version: str = "inference.networking.k8s.io/v1"
    kind: str = "InferencePool"
