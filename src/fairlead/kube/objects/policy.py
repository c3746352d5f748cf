"""Disruption budgets (policy/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.kube.objects.meta import Condition, KubernetesObject, LabelSelector, Part


class PodDisruptionBudgetSpec(Part, frozen=True, gc=False):
    max_unavailable: int | str | None = None
    min_available: int | str | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str = ""


class PodDisruptionBudgetStatus(Part, frozen=True, gc=False):
    conditions: Sequence[Condition] = ()
    current_healthy: int | None = None
    desired_healthy: int | None = None
    disrupted_pods: Mapping[str, str] = {}
    disruptions_allowed: int | None = None
    expected_pods: int | None = None
    observed_generation: int | None = None


class PodDisruptionBudget(KubernetesObject, frozen=True, gc=False):
    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()
