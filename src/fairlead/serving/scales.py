"""How many replicas each role is to have: from the service and, where roles are scaled by themselves, RoleScales.

Pure. The service says sets (`replicas`) and how many of each role a set has. A RoleScale starts at their product and
may then be scaled by itself; as soon as the service's own number changes, that counts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fairlead.api.kind import API_VERSION
from fairlead.api.model_service import ModelService, RoleName
from fairlead.api.role_scale import BASE_ANNOTATION
from fairlead.serving.names import ROLE_LABEL, SERVICE_LABEL
from fairlead.serving.status import RoleSeen, role_selector

Json = dict[str, Any]

UNIFIED: Final[RoleName] = "unified"


def sets_of_roles(service: ModelService) -> dict[RoleName, int]:
    """Replicas of each role in one set."""
    return {role.name: role.replicas for role in service.spec.roles} or {UNIFIED: 1}


def desired_counts(service: ModelService, scales: Iterable[Mapping[str, Any]]) -> dict[RoleName, int]:
    """Replicas that each role is to have now. `scales` are the service's RoleScales as they are in the API."""
    counts = {role: service.spec.replicas * each for role, each in sets_of_roles(service).items()}
    for scale in scales:
        role = scale["spec"].get("role")
        if role in counts and _base(scale) == str(counts[role]):
            counts[role] = int(scale["spec"].get("replicas", 0))
    return counts


def scale_name(service: str, role: RoleName) -> str:
    return f"{service}-{role}"


def wanted_scales(service: ModelService, counts: Mapping[RoleName, int], owner: Json) -> list[Json]:
    """The RoleScales of a service that has roles, to be applied. `counts` are those of `desired_counts`."""
    if not service.spec.roles:
        return []
    each = sets_of_roles(service)
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "RoleScale",
            "metadata": {
                "name": scale_name(service.name, role),
                "namespace": service.namespace,
                "labels": {SERVICE_LABEL: service.name, ROLE_LABEL: role},
                "annotations": {BASE_ANNOTATION: str(service.spec.replicas * each[role])},
                "ownerReferences": [owner],
            },
            "spec": {"service": service.name, "role": role, "replicas": counts[role]},
        }
        for role in each
    ]


def scale_status(service: ModelService, role: RoleSeen, generation: int) -> Json:
    """What a RoleScale's status says."""
    counted = role.counted
    return {
        "observedGeneration": generation,
        "replicas": len(counted),
        "readyReplicas": sum(r.is_ready for r in counted),
        "selector": role_selector(service.name, role.name),
    }


def is_ratio_kept(service: ModelService, counts: Mapping[RoleName, int]) -> bool:
    """Whether all roles have what the service's own numbers say."""
    return all(counts[role] == service.spec.replicas * each for role, each in sets_of_roles(service).items())


def _base(scale: Mapping[str, Any]) -> str:
    return str((scale["metadata"].get("annotations") or {}).get(BASE_ANNOTATION, ""))
