"""`RoleScale`: the number of replicas of one role of a ModelService, so that each role has a `scale` subresource.

Serving makes one for each role of a service that has roles. Whoever scales sets `spec.replicas`; when the service's own
numbers change, they count again.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from fairlead.api.kind import API_VERSION, OBSERVED_GENERATION, Conditions, Kind
from fairlead.api.model_service.workload import RoleName
from fairlead.api.structural import told
from fairlead.kube.resources import Resource

ROLE_SCALES = Resource.of(API_VERSION, "rolescales", "RoleScale")

BASE_ANNOTATION = "fairlead.dev/base-replicas"
"""What the service said when `spec.replicas` was set from it last."""


class RoleScaleSpec(Kind):
    """How many replicas of which role."""

    service: Annotated[str, told("The ModelService, of the same namespace.", min_length=1, max_length=63)]
    role: Annotated[RoleName, told("Its role.")]
    replicas: Annotated[int, told("How many engines of the role.", ge=0, le=10_000)] = 0


class RoleScaleStatus(Kind):
    """What is there now."""

    observed_generation: Annotated[int, told(OBSERVED_GENERATION)] = 0
    replicas: Annotated[int, told("How many replicas of the role there are.")] = 0
    ready_replicas: Annotated[int, told("Of these, how many serve.")] = 0
    selector: Annotated[str, told("Label selector of the role's pods.")] = ""
    conditions: Conditions = msgspec.field(default_factory=list)


class RoleScale(Kind):
    """The replicas of one role."""

    metadata: dict[str, Any]
    spec: RoleScaleSpec
    status: RoleScaleStatus = msgspec.field(default_factory=RoleScaleStatus)
    api_version: str = API_VERSION
    kind: str = "RoleScale"
