"""The group node.k8s.io, v1: RuntimeClass."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of node.k8s.io/v1."""
    return [
        resource_type("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", namespaced=False, strategy=ClusterStrategy()),
    ]
