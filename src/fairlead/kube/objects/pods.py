"""Pods, their templates and bindings (core/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.kube.objects.containers import Container, ContainerStatus, ResourceRequirements
from fairlead.kube.objects.meta import KubernetesObject, ObjectMeta, Part
from fairlead.kube.objects.placement import Affinity, Toleration, TopologySpreadConstraint
from fairlead.kube.objects.volumes import ObjectReference, Volume


class PodReadinessGate(Part, frozen=True, gc=False):
    condition_type: str = ""


class PodSchedulingGate(Part, frozen=True, gc=False):
    name: str = ""


class PodSchedulingGroup(Part, frozen=True, gc=False):
    pod_group_name: str = ""


class PodResourceClaim(Part, frozen=True, gc=False):
    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""


class PodSecurityContext(Part, frozen=True, gc=False):
    fs_group: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    supplemental_groups: Sequence[int] = ()


class PodSpec(Part, frozen=True, gc=False):
    active_deadline_seconds: int | None = None
    affinity: Affinity | None = None
    automount_service_account_token: bool | None = None
    containers: Sequence[Container] = ()
    dns_policy: str = ""
    enable_service_links: bool | None = None
    host_ipc: bool | None = None
    host_network: bool | None = None
    host_pid: bool | None = None
    host_users: bool | None = None
    hostname: str = ""
    init_containers: Sequence[Container] = ()
    node_name: str = ""
    node_selector: Mapping[str, str] = {}
    overhead: Mapping[str, str] = {}
    preemption_policy: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    readiness_gates: Sequence[PodReadinessGate] = ()
    resource_claims: Sequence[PodResourceClaim] = ()
    resources: ResourceRequirements | None = None
    restart_policy: str = ""
    runtime_class_name: str = ""
    scheduler_name: str = ""
    scheduling_gates: Sequence[PodSchedulingGate] = ()
    scheduling_group: PodSchedulingGroup | None = None
    security_context: PodSecurityContext | None = None
    service_account: str = ""
    service_account_name: str = ""
    set_hostname_as_fqdn: bool | None = None
    share_process_namespace: bool | None = None
    subdomain: str = ""
    termination_grace_period_seconds: int | None = None
    tolerations: Sequence[Toleration] = ()
    topology_spread_constraints: Sequence[TopologySpreadConstraint] = ()
    volumes: Sequence[Volume] = ()


class PodIP(Part, frozen=True, gc=False):
    ip: str = ""


class HostIP(Part, frozen=True, gc=False):
    ip: str = ""


class PodCondition(Part, frozen=True, gc=False):
    last_probe_time: str | None = None
    last_transition_time: str | None = None
    message: str = ""
    observed_generation: int | None = None
    reason: str = ""
    status: str = ""
    type: str = ""


class PodResourceClaimStatus(Part, frozen=True, gc=False):
    name: str = ""
    resource_claim_name: str = ""


class ContainerExtendedResourceRequest(Part, frozen=True, gc=False):
    container_name: str = ""
    request_name: str = ""
    resource_name: str = ""


class PodExtendedResourceClaimStatus(Part, frozen=True, gc=False):
    request_mappings: Sequence[ContainerExtendedResourceRequest] = ()
    resource_claim_name: str = ""


class PodStatus(Part, frozen=True, gc=False):
    allocated_resources: Mapping[str, str] = {}
    conditions: Sequence[PodCondition] = ()
    container_statuses: Sequence[ContainerStatus] = ()
    ephemeral_container_statuses: Sequence[ContainerStatus] = ()
    extended_resource_claim_status: PodExtendedResourceClaimStatus | None = None
    host_ip: str = ""
    host_ips: Sequence[HostIP] = ()
    init_container_statuses: Sequence[ContainerStatus] = ()
    message: str = ""
    nominated_node_name: str = ""
    observed_generation: int | None = None
    phase: str = ""
    pod_ip: str = ""
    pod_ips: Sequence[PodIP] = ()
    qos_class: str = ""
    reason: str = ""
    resource_claim_statuses: Sequence[PodResourceClaimStatus] = ()
    resources: ResourceRequirements | None = None
    start_time: str | None = None


class Pod(KubernetesObject, frozen=True, gc=False):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class PodTemplateSpec(Part, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec | None = None


class Binding(KubernetesObject, frozen=True, gc=False):
    target: ObjectReference | None = None
