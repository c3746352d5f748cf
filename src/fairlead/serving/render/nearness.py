"""Where pods are to be near each other: topology levels as node labels, gangs, and roles of a service. Pure."""

from __future__ import annotations

import difflib
import json
from typing import Any, Final

from fairlead.api.model_service import ModelService, RoleName, Topology
from fairlead.serving.names import ROLE_LABEL, SERVICE_LABEL
from fairlead.serving.resolved import Unservable

Json = dict[str, Any]

LEVELS: Final = {
    "host": "kubernetes.io/hostname",
    "nvlink": "accelerator.topograph.run/domain",
    "rack": "fabric.topograph.run/tier-0",
    "block": "fabric.topograph.run/tier-1",
    "zone": "topology.kubernetes.io/zone",
    "region": "topology.kubernetes.io/region",
}
"""Short names as the scheduler has them, docs/gangs.md."""
_WEIGHT: Final = 100


def level_label(name: str, field: str) -> str:
    """The node label of a level. Raises Unservable."""
    if name in LEVELS:
        return LEVELS[name]
    if "/" in name:
        return name
    near = difflib.get_close_matches(name, LEVELS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise Unservable(field, name, f"{hint}write one of {', '.join(LEVELS)}, or a whole node label")


def check_topology(topology: Topology, field: str) -> None:
    """Raises Unservable for a level that there is not."""
    for side, names in (("required", topology.required), ("preferred", topology.preferred)):
        for name in names:
            level_label(name, f"{field}topology.{side}")
    if topology.roles_together:
        level_label(topology.roles_together, f"{field}topology.rolesTogether")


def gang_spec(service: ModelService, size: int, topology: Topology) -> str:
    """The annotation that describes a replica of several pods to the scheduler."""
    near: Json = {}
    if topology.required:
        near["required"] = list(topology.required)
    if topology.preferred:
        near["preferred"] = list(topology.preferred)
    spec: Json = {
        "min": size,
        "recovery": "gang" if service.spec.recovery.policy == "Gang" else "member",
        # Without one of its pods an engine serves nothing.
        "disruption": "all",
        **({"topology": near} if near else {}),
    }
    return json.dumps(spec)


def near_other_roles(service: ModelService, role: RoleName, topology: Topology) -> Json:
    """Affinity of a role's pods to the service's pods of other roles; empty where it is not asked for."""
    if not topology.roles_together or len(service.spec.roles) < 2:
        return {}
    others = {
        "labelSelector": {
            "matchLabels": {SERVICE_LABEL: service.name},
            "matchExpressions": [{"key": ROLE_LABEL, "operator": "NotIn", "values": [role]}],
        },
        "topologyKey": level_label(topology.roles_together, "topology.rolesTogether"),
    }
    preferred = [{"weight": _WEIGHT, "podAffinityTerm": others}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
