"""The group flowcontrol.apiserver.k8s.io, v1: stored, without effect on requests."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import ResourceType

_API_VERSION = "flowcontrol.apiserver.k8s.io/v1"


def types() -> list[ResourceType]:
    """The kinds of flowcontrol.apiserver.k8s.io/v1."""
    return [
        _row("flowschemas", "FlowSchema"),
        _row("prioritylevelconfigurations", "PriorityLevelConfiguration"),
    ]


def _row(resource: str, kind: str) -> ResourceType:
    return resource_type(
        _API_VERSION,
        resource,
        kind,
        namespaced=False,
        strategy=ClusterStrategy(),
        has_status=True,
        has_generation=True,
        reset_fields=STATUS,
    )
