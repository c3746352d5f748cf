"""From a ModelService and the ServingRuntimes to everything that decides how its pods are: `resolve_service`."""

from fairlead.serving.resolve.alternatives import Choice, choose_alternative
from fairlead.serving.resolve.choice import choose_runtime
from fairlead.serving.resolve.service import resolve_service
from fairlead.serving.resolve.shipped import DIGEST, is_outdated, runtime_objects, shipped_runtime, shipped_runtimes
from fairlead.serving.resolved import (
    Alternative,
    ClaimTemplate,
    ClusterFacts,
    ModelFacts,
    Resolved,
    ResolvedRole,
    Unservable,
)

__all__ = [
    "DIGEST",
    "Alternative",
    "Choice",
    "ClaimTemplate",
    "ClusterFacts",
    "ModelFacts",
    "Resolved",
    "ResolvedRole",
    "Unservable",
    "choose_alternative",
    "choose_runtime",
    "is_outdated",
    "resolve_service",
    "runtime_objects",
    "shipped_runtime",
    "shipped_runtimes",
]
