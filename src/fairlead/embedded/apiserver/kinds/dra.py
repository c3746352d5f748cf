"""The group resource.k8s.io: dynamic resource allocation, stored as v1."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, at, resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, ObjectStrategy, StatusStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of resource.k8s.io in their served versions."""
    return [
        resource_type(
            "resource.k8s.io/v1",
            "deviceclasses",
            "DeviceClass",
            namespaced=False,
            strategy=ClusterStrategy(),
            has_generation=True,
        ),
        resource_type(
            "resource.k8s.io/v1",
            "resourceclaims",
            "ResourceClaim",
            strategy=StatusStrategy(),
            has_status=True,
            reset_fields=STATUS,
            returns_deleted=True,
        ),
        resource_type(
            "resource.k8s.io/v1",
            "resourceclaimtemplates",
            "ResourceClaimTemplate",
            strategy=ObjectStrategy(),
        ),
        resource_type(
            "resource.k8s.io/v1",
            "resourceslices",
            "ResourceSlice",
            namespaced=False,
            strategy=ClusterStrategy(),
            has_generation=True,
            selectable_fields={"spec.nodeName": at("spec", "nodeName"), "spec.driver": at("spec", "driver")},
        ),
    ]
