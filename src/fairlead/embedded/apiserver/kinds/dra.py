"""The group resource.k8s.io: dynamic resource allocation, stored as v1."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, at, resource_type
from fairlead.embedded.apiserver.kinds.dra_claims import ClaimStrategy, ClaimTemplateStrategy
from fairlead.embedded.apiserver.kinds.dra_classes import DeviceClassStrategy
from fairlead.embedded.apiserver.kinds.dra_slices import SliceStrategy
from fairlead.embedded.apiserver.registry import ResourceType

_V1 = "resource.k8s.io/v1"


def types() -> list[ResourceType]:
    """The kinds of resource.k8s.io in their served versions."""
    return [
        resource_type(
            _V1,
            "deviceclasses",
            "DeviceClass",
            namespaced=False,
            strategy=DeviceClassStrategy(),
            returns_deleted=True,
            has_generation=True,
        ),
        resource_type(
            _V1,
            "resourceclaims",
            "ResourceClaim",
            strategy=ClaimStrategy(),
            has_status=True,
            reset_fields=STATUS,
            returns_deleted=True,
        ),
        resource_type(
            _V1,
            "resourceclaimtemplates",
            "ResourceClaimTemplate",
            strategy=ClaimTemplateStrategy(),
            returns_deleted=True,
        ),
        resource_type(
            _V1,
            "resourceslices",
            "ResourceSlice",
            namespaced=False,
            strategy=SliceStrategy(),
            returns_deleted=True,
            has_generation=True,
            selectable_fields={"spec.nodeName": at("spec", "nodeName"), "spec.driver": at("spec", "driver")},
        ),
    ]
