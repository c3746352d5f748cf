"""Workload controllers (apps/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.kube.objects.meta import KubernetesObject, LabelSelector, Part
from fairlead.kube.objects.pods import PodTemplateSpec
from fairlead.kube.objects.volumes import PersistentVolumeClaim


class RollingUpdateDeployment(Part, frozen=True, gc=False):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DeploymentStrategy(Part, frozen=True, gc=False):
    rolling_update: RollingUpdateDeployment | None = None
    type: str = ""


class DeploymentSpec(Part, frozen=True, gc=False):
    min_ready_seconds: int | None = None
    paused: bool | None = None
    progress_deadline_seconds: int | None = None
    replicas: int | None = None
    revision_history_limit: int | None = None
    selector: LabelSelector | None = None
    strategy: DeploymentStrategy | None = None
    template: PodTemplateSpec | None = None


class DeploymentCondition(Part, frozen=True, gc=False):
    last_transition_time: str | None = None
    last_update_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class DeploymentStatus(Part, frozen=True, gc=False):
    available_replicas: int | None = None
    collision_count: int | None = None
    conditions: Sequence[DeploymentCondition] = ()
    observed_generation: int | None = None
    ready_replicas: int | None = None
    replicas: int | None = None
    terminating_replicas: int | None = None
    unavailable_replicas: int | None = None
    updated_replicas: int | None = None


class Deployment(KubernetesObject, frozen=True, gc=False):
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class ReplicaSetSpec(Part, frozen=True, gc=False):
    min_ready_seconds: int | None = None
    replicas: int | None = None
    selector: LabelSelector | None = None
    template: PodTemplateSpec | None = None


class ReplicaSetCondition(Part, frozen=True, gc=False):
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class ReplicaSetStatus(Part, frozen=True, gc=False):
    available_replicas: int | None = None
    conditions: Sequence[ReplicaSetCondition] = ()
    fully_labeled_replicas: int | None = None
    observed_generation: int | None = None
    ready_replicas: int | None = None
    replicas: int = 0
    terminating_replicas: int | None = None


class ReplicaSet(KubernetesObject, frozen=True, gc=False):
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class RollingUpdateStatefulSetStrategy(Part, frozen=True, gc=False):
    max_unavailable: int | str | None = None
    partition: int | None = None


class StatefulSetUpdateStrategy(Part, frozen=True, gc=False):
    rolling_update: RollingUpdateStatefulSetStrategy | None = None
    type: str = ""


class StatefulSetOrdinals(Part, frozen=True, gc=False):
    start: int | None = None


class StatefulSetPersistentVolumeClaimRetentionPolicy(Part, frozen=True, gc=False):
    when_deleted: str = ""
    when_scaled: str = ""


class StatefulSetSpec(Part, frozen=True, gc=False):
    min_ready_seconds: int | None = None
    ordinals: StatefulSetOrdinals | None = None
    persistent_volume_claim_retention_policy: StatefulSetPersistentVolumeClaimRetentionPolicy | None = None
    pod_management_policy: str = ""
    replicas: int | None = None
    revision_history_limit: int | None = None
    selector: LabelSelector | None = None
    service_name: str = ""
    template: PodTemplateSpec | None = None
    update_strategy: StatefulSetUpdateStrategy | None = None
    volume_claim_templates: Sequence[PersistentVolumeClaim] = ()


class StatefulSetCondition(Part, frozen=True, gc=False):
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class StatefulSetStatus(Part, frozen=True, gc=False):
    available_replicas: int | None = None
    collision_count: int | None = None
    conditions: Sequence[StatefulSetCondition] = ()
    current_replicas: int | None = None
    current_revision: str = ""
    observed_generation: int | None = None
    ready_replicas: int | None = None
    replicas: int = 0
    update_revision: str = ""
    updated_replicas: int | None = None


class StatefulSet(KubernetesObject, frozen=True, gc=False):
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()


class RollingUpdateDaemonSet(Part, frozen=True, gc=False):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DaemonSetUpdateStrategy(Part, frozen=True, gc=False):
    rolling_update: RollingUpdateDaemonSet | None = None
    type: str = ""


class DaemonSetSpec(Part, frozen=True, gc=False):
    min_ready_seconds: int | None = None
    revision_history_limit: int | None = None
    selector: LabelSelector | None = None
    template: PodTemplateSpec | None = None
    update_strategy: DaemonSetUpdateStrategy | None = None


class DaemonSetCondition(Part, frozen=True, gc=False):
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class DaemonSetStatus(Part, frozen=True, gc=False):
    collision_count: int | None = None
    conditions: Sequence[DaemonSetCondition] = ()
    current_number_scheduled: int = 0
    desired_number_scheduled: int = 0
    number_available: int | None = None
    number_misscheduled: int = 0
    number_ready: int = 0
    number_unavailable: int | None = None
    observed_generation: int | None = None
    updated_number_scheduled: int | None = None


class DaemonSet(KubernetesObject, frozen=True, gc=False):
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()


class ControllerRevision(KubernetesObject, frozen=True, gc=False):
    data: Mapping[str, Any] = {}
    revision: int = 0
