"""The group coordination.k8s.io: its rows."""

from __future__ import annotations

import dataclasses

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.lease import LeaseStrategy
from fairlead.embedded.apiserver.kinds.lease_candidate import LeaseCandidateStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of coordination.k8s.io in their served versions."""
    candidates = resource_type(
        "coordination.k8s.io/v1beta1",
        "leasecandidates",
        "LeaseCandidate",
        strategy=LeaseCandidateStrategy(),
        allow_create_on_update=True,
        allow_unconditional_update=False,
    )
    return [
        resource_type(
            "coordination.k8s.io/v1",
            "leases",
            "Lease",
            strategy=LeaseStrategy(),
            allow_create_on_update=True,
            allow_unconditional_update=False,
        ),
        candidates,
        dataclasses.replace(candidates, version="v1alpha2", storage_version="v1beta1"),
    ]
