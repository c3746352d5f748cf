"""The group discovery.k8s.io, v1: EndpointSlice."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of discovery.k8s.io/v1."""
    return [
        resource_type(
            "discovery.k8s.io/v1",
            "endpointslices",
            "EndpointSlice",
            strategy=ObjectStrategy(),
            has_generation=True,
        ),
    ]
