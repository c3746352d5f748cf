"""Priority classes, and the kinds that describe gangs: Workload, PodGroup and CompositePodGroup (scheduling.k8s.io).

Gangs are served in v1alpha2 (Kubernetes 1.36), v1alpha3 and v1beta1 (1.37); one struct reads all of them. What was
renamed between them has both names here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.kube.objects.meta import Condition, KubernetesObject, Part
from fairlead.kube.objects.volumes import TypedLocalObjectReference


class PriorityClass(KubernetesObject, frozen=True, gc=False):
    description: str = ""
    global_default: bool | None = None
    preemption_policy: str = ""
    value: int | None = None


class GangSchedulingPolicy(Part, frozen=True, gc=False):
    min_count: int = 0


class PodGroupSchedulingPolicy(Part, frozen=True, gc=False):
    basic: Mapping[str, Any] | None = None
    gang: GangSchedulingPolicy | None = None


class TopologyConstraint(Part, frozen=True, gc=False):
    key: str = ""


class PodGroupSchedulingConstraints(Part, frozen=True, gc=False):
    topology: Sequence[TopologyConstraint] = ()


class PodGroupResourceClaim(Part, frozen=True, gc=False):
    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""


class DisruptionMode(Part, frozen=True, gc=False):
    """Empty objects, one of which is there; v1alpha2 has the word `Pod` or `PodGroup` in place of it all."""

    all: Mapping[str, Any] | None = None
    single: Mapping[str, Any] | None = None


class WorkloadReference(Part, frozen=True, gc=False):
    template_name: str = ""
    workload_name: str = ""


class WorkloadPodGroupTemplateReference(Part, frozen=True, gc=False):
    pod_group_template_name: str = ""
    workload_name: str = ""


class PodGroupTemplateReference(Part, frozen=True, gc=False):
    workload: WorkloadPodGroupTemplateReference | None = None


class PodGroupTemplate(Part, frozen=True, gc=False):
    disruption_mode: DisruptionMode | str | None = None
    name: str = ""
    preemption_policy: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    resource_claims: Sequence[PodGroupResourceClaim] = ()
    scheduling_constraints: PodGroupSchedulingConstraints | None = None
    scheduling_policy: PodGroupSchedulingPolicy = PodGroupSchedulingPolicy()


class PodGroupSpec(Part, frozen=True, gc=False):
    disruption_mode: DisruptionMode | str | None = None
    parent_composite_pod_group_name: str = ""
    pod_group_template_ref: PodGroupTemplateReference | None = None
    """v1alpha2's name for `workload_ref`."""
    preemption_policy: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    resource_claims: Sequence[PodGroupResourceClaim] = ()
    scheduling_constraints: PodGroupSchedulingConstraints | None = None
    scheduling_policy: PodGroupSchedulingPolicy = PodGroupSchedulingPolicy()
    workload_ref: WorkloadReference | None = None

    @property
    def is_disrupted_whole(self) -> bool:
        """Whether its pods can only be evicted together, whatever version says it."""
        mode = self.disruption_mode
        return mode == "PodGroup" or (isinstance(mode, DisruptionMode) and mode.all is not None)


class PodGroupResourceClaimStatus(Part, frozen=True, gc=False):
    name: str = ""
    resource_claim_name: str = ""


class PodGroupStatus(Part, frozen=True, gc=False):
    """Conditions: `PodGroupScheduled` (v1alpha2) or `PodGroupInitiallyScheduled`, and `DisruptionTarget`."""

    conditions: Sequence[Condition] = ()
    resource_claim_statuses: Sequence[PodGroupResourceClaimStatus] = ()


class PodGroup(KubernetesObject, frozen=True, gc=False):
    spec: PodGroupSpec = PodGroupSpec()
    status: PodGroupStatus = PodGroupStatus()


class CompositeGangSchedulingPolicy(Part, frozen=True, gc=False):
    min_group_count: int = 0


class CompositePodGroupSchedulingPolicy(Part, frozen=True, gc=False):
    basic: Mapping[str, Any] | None = None
    gang: CompositeGangSchedulingPolicy | None = None


class CompositePodGroupTemplate(Part, frozen=True, gc=False):
    composite_pod_group_templates: Sequence[CompositePodGroupTemplate] = ()
    disruption_mode: DisruptionMode | None = None
    name: str = ""
    pod_group_templates: Sequence[PodGroupTemplate] = ()
    preemption_policy: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    scheduling_constraints: PodGroupSchedulingConstraints | None = None
    scheduling_policy: CompositePodGroupSchedulingPolicy = CompositePodGroupSchedulingPolicy()


class CompositePodGroupSpec(Part, frozen=True, gc=False):
    disruption_mode: DisruptionMode | None = None
    parent_composite_pod_group_name: str = ""
    preemption_policy: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    scheduling_constraints: PodGroupSchedulingConstraints | None = None
    scheduling_policy: CompositePodGroupSchedulingPolicy = CompositePodGroupSchedulingPolicy()
    workload_ref: WorkloadReference | None = None


class CompositePodGroupStatus(Part, frozen=True, gc=False):
    conditions: Sequence[Condition] = ()


class CompositePodGroup(KubernetesObject, frozen=True, gc=False):
    spec: CompositePodGroupSpec = CompositePodGroupSpec()
    status: CompositePodGroupStatus = CompositePodGroupStatus()


class WorkloadSpec(Part, frozen=True, gc=False):
    composite_pod_group_templates: Sequence[CompositePodGroupTemplate] = ()
    controller_ref: TypedLocalObjectReference | None = None
    pod_group_templates: Sequence[PodGroupTemplate] = ()


class Workload(KubernetesObject, frozen=True, gc=False):
    spec: WorkloadSpec = WorkloadSpec()
