"""Priority classes (scheduling.k8s.io/v1)."""

from __future__ import annotations

from fairlead.kube.objects.meta import KubernetesObject


class PriorityClass(KubernetesObject, frozen=True, gc=False):
    description: str = ""
    global_default: bool | None = None
    preemption_policy: str = ""
    value: int | None = None
