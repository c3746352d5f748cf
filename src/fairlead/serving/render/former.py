"""What a ModelService becomes: its pods and its InferencePool. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from fairlead.api.inference_pool import MODELS_ANNOTATION
from fairlead.api.model_service import GROUP, VERSION, ModelService
from fairlead.engines import RUNTIME_LABEL, EngineSpec, engine_for
from fairlead.engines.engine import DEFAULT_PORT, Readiness

SERVICE_LABEL = "fairlead.dev/model-service"
HASH_LABEL = "fairlead.dev/template-hash"
PICKER_NAME = "fairlead-gateway"
PICKER_PORT = 9002

Json = dict[str, Any]


def pod_template(service: ModelService) -> Json:
    """Metadata and spec of every replica's pod. Raises EngineSpecError for what the runtime cannot serve."""
    spec = service.spec
    engine = engine_for(spec.runtime)
    command = engine.command(
        EngineSpec(
            model=spec.model.name,
            aliases=tuple(spec.model.aliases),
            source=spec.model.source,
            command=tuple(spec.command),
            args=tuple(spec.args),
            port=DEFAULT_PORT,
            drain_s=spec.termination_grace_period_seconds,
        )
    )
    own = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    set_here = {e.name for e in spec.env}
    engine_env = [{"name": k, "value": v} for k, v in command.env.items() if k not in set_here]
    container: Json = {
        "name": "engine",
        "image": engine.image,
        "command": list(command.argv),
        "env": [*own, *engine_env, *({"name": e.name, "value": e.value} for e in spec.env)],
        "ports": [{"name": "http", "containerPort": DEFAULT_PORT}],
        **_probes(engine.readiness, engine.liveness_path),
    }
    resources = {k: v for k, v in msgspec.to_builtins(spec.resources).items() if v}
    if resources:
        container["resources"] = resources
    return {
        "metadata": {
            "labels": {
                SERVICE_LABEL: service.metadata["name"],
                RUNTIME_LABEL: spec.runtime,
                "app.kubernetes.io/managed-by": "fairlead",
            }
        },
        "spec": {
            "containers": [container],
            "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            **({"nodeSelector": spec.node_selector} if spec.node_selector else {}),
        },
    }


def template_hash(template: Json) -> str:
    """Ten hexadecimal digits that change with anything in the template."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def replica_pod(service: ModelService, template: Json, hashed: str) -> Json:
    """One replica's pod, owned by the service, named by the API server."""
    name = service.metadata["name"]
    labels = {**template["metadata"]["labels"], HASH_LABEL: hashed}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{name}-",
            "namespace": service.metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(service)],
        },
        "spec": template["spec"],
    }


def pool(service: ModelService) -> Json:
    """The InferencePool of the service, for server-side apply."""
    name = service.metadata["name"]
    names = dict.fromkeys((service.spec.model.name, *service.spec.model.aliases))
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {
            "name": name,
            "namespace": service.metadata["namespace"],
            "labels": {SERVICE_LABEL: name, RUNTIME_LABEL: service.spec.runtime},
            "annotations": {MODELS_ANNOTATION: ",".join(names)},
            "ownerReferences": [owner_reference(service)],
        },
        "spec": {
            "selector": {"matchLabels": {SERVICE_LABEL: name}},
            "targetPorts": [{"number": DEFAULT_PORT}],
            "endpointPickerRef": {"name": PICKER_NAME, "port": {"number": PICKER_PORT}},
        },
    }


def _probes(readiness: Readiness, liveness_path: str | None) -> Json:
    get = {"path": readiness.path, "port": DEFAULT_PORT}
    alive = {"path": liveness_path or readiness.path, "port": DEFAULT_PORT}
    attempts = max(1, -(-readiness.startup_timeout_s // readiness.startup_period_s))
    regular = {"httpGet": get, "periodSeconds": readiness.period_s, "failureThreshold": readiness.failure_threshold}
    return {
        "startupProbe": {
            "httpGet": get,
            "periodSeconds": readiness.startup_period_s,
            "failureThreshold": attempts,
        },
        "readinessProbe": regular,
        # An engine under full load may answer its health page late: restarting it would only make things worse.
        "livenessProbe": {**regular, "httpGet": alive, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def owner_reference(service: ModelService) -> Json:
    """The reference by which pods and pool belong to the service."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ModelService",
        "name": service.metadata["name"],
        "uid": service.metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
