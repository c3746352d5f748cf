"""The PodDisruptionBudgets of a service. Pure."""

from __future__ import annotations

from typing import Any, Final

from fairlead.api.model_service import ModelService
from fairlead.serving.names import ROLE_LABEL, SERVICE_LABEL
from fairlead.serving.render.labels import owned
from fairlead.serving.resolved import Resolved

Json = dict[str, Any]

_ALL: Final = 2**31 - 1


def disruption_budgets(service: ModelService, resolved: Resolved) -> list[Json]:
    """One for each role: pods that serve are never evicted. Whoever drains a node waits until Fairlead has put a
    replica elsewhere, let the streams of the old one end and deleted it; pods that do not serve may go at once.

    The minimum is the largest number there is: `maxUnavailable` would count replicas by the `scale` subresource, which
    are not pods, and the number of pods changes while they are moved. There is none where nobody moves replicas
    (`recovery.policy: None`, or another `workload`).
    """
    if service.spec.recovery.policy == "None" or service.spec.workload != "Replicas":
        return []
    return [_budget(service, role) for role in resolved.roles]


def _budget(service: ModelService, role: str) -> Json:
    name = service.name if role == "unified" else f"{service.name}-{role}"
    return owned(
        service, "policy/v1", "PodDisruptionBudget", name,
        labels={ROLE_LABEL: role},
        spec={
            "minAvailable": _ALL,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {SERVICE_LABEL: service.name, ROLE_LABEL: role}},
        },
    )  # fmt: skip
