"""The group policy, v1: PodDisruptionBudget."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of policy/v1."""
    return [
        resource_type(
            "policy/v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            strategy=StatusStrategy(),
            short_names=("pdb",),
            has_status=True,
            has_generation=True,
            reset_fields=STATUS,
            allow_unconditional_update=False,
        ),
    ]
