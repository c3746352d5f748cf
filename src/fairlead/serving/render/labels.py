"""Labels and annotations of pods that do not differ from replica to replica. Pure."""

from __future__ import annotations

from typing import Any, Final

from fairlead.api.model_service import ModelService, RoleName
from fairlead.engines import RUNTIME_LABEL
from fairlead.serving.names import (
    ALTERNATIVE_LABEL,
    QUEUE_LABEL,
    ROLE_LABEL,
    SERVICE_LABEL,
    WORK_ANNOTATION,
)

Json = dict[str, Any]

LLM_D_ROLE_LABEL: Final = "llm-d.ai/role"
_LLM_D_ROLES: Final = {"unified": "both", "prefill": "prefill", "decode": "decode", "encode": "encode"}
MANAGED_BY: Final = "app.kubernetes.io/managed-by"


def owner_reference(service: ModelService) -> Json:
    """The reference by which objects belong to the service."""
    return {
        "apiVersion": service.api_version,
        "kind": service.kind,
        "name": service.name,
        "uid": service.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned(service: ModelService, api_version: str, kind: str, name: str, **rest: Any) -> Json:
    """An object of the service's namespace that belongs to it and has its label; `rest` are its other fields, `labels`
    and `annotations` those of its metadata."""
    labels = {SERVICE_LABEL: service.name, MANAGED_BY: "fairlead", **rest.pop("labels", {})}
    annotations = rest.pop("annotations", {})
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": service.namespace,
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [owner_reference(service)],
        },
        **rest,
    }


def pod_labels(service: ModelService, role: RoleName, runtime: str, accelerator: str) -> dict[str, str]:
    """`runtime` is the engine's name, by which gateway and scrapers know how to read it."""
    labels = {
        SERVICE_LABEL: service.name,
        ROLE_LABEL: role,
        LLM_D_ROLE_LABEL: _LLM_D_ROLES[role],
        RUNTIME_LABEL: runtime,
        MANAGED_BY: "fairlead",
    }
    if accelerator:
        labels[ALTERNATIVE_LABEL] = accelerator
    if service.spec.queue:
        labels[QUEUE_LABEL] = service.spec.queue
    return labels


def pod_annotations(delivered: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {WORK_ANNOTATION: "serving", **dict(delivered)}
