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
