"""The group scheduling.k8s.io: PriorityClass."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of scheduling.k8s.io/v1."""
    return [
        resource_type(
            "scheduling.k8s.io/v1",
            "priorityclasses",
            "PriorityClass",
            namespaced=False,
            strategy=ClusterStrategy(),
            short_names=("pc",),
            has_generation=True,
        ),
    ]
