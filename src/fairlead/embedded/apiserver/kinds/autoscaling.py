"""The group autoscaling: HorizontalPodAutoscaler, stored as v2."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """HorizontalPodAutoscaler in its served versions."""
    return [
        resource_type(
            "autoscaling/v2",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            strategy=StatusStrategy(),
            short_names=("hpa",),
            categories=("all",),
            has_status=True,
            reset_fields=STATUS,
        ),
    ]
