"""The group scheduling.k8s.io: PriorityClass, and the alpha kinds that describe gangs, Workload and PodGroup."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.pod_group import PodGroupStrategy, WorkloadStrategy
from fairlead.embedded.apiserver.kinds.priority_class import PriorityClassStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of scheduling.k8s.io in their served versions."""
    return [
        resource_type(
            "scheduling.k8s.io/v1",
            "priorityclasses",
            "PriorityClass",
            namespaced=False,
            strategy=PriorityClassStrategy(),
            short_names=("pc",),
            has_generation=True,
        ),
        resource_type(
            "scheduling.k8s.io/v1alpha2",
            "podgroups",
            "PodGroup",
            strategy=PodGroupStrategy(),
            has_status=True,
            reset_fields=STATUS,
        ),
        resource_type("scheduling.k8s.io/v1alpha2", "workloads", "Workload", strategy=WorkloadStrategy()),
    ]
