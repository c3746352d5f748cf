"""The group coordination.k8s.io, v1: its rows."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.lease import LeaseStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of coordination.k8s.io/v1."""
    return [
        resource_type(
            "coordination.k8s.io/v1",
            "leases",
            "Lease",
            strategy=LeaseStrategy(),
            allow_create_on_update=True,
            allow_unconditional_update=False,
        ),
    ]
