"""Nodes (core/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.kube.objects.meta import KubernetesObject, Part


class Taint(Part, frozen=True, gc=False):
    effect: str = ""
    key: str = ""
    time_added: str | None = None
    value: str = ""


class NodeSpec(Part, frozen=True, gc=False):
    pod_cidr: str = ""
    pod_cidrs: Sequence[str] = ()
    provider_id: str = ""
    taints: Sequence[Taint] = ()
    unschedulable: bool | None = None


class NodeAddress(Part, frozen=True, gc=False):
    address: str = ""
    type: str = ""


class NodeCondition(Part, frozen=True, gc=False):
    last_heartbeat_time: str | None = None
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class NodeSystemInfo(Part, frozen=True, gc=False):
    architecture: str = ""
    boot_id: str = ""
    container_runtime_version: str = ""
    kernel_version: str = ""
    kube_proxy_version: str = ""
    kubelet_version: str = ""
    machine_id: str = ""
    operating_system: str = ""
    os_image: str = ""
    system_uuid: str = ""


class DaemonEndpoint(Part, frozen=True, gc=False):
    port: int = 0


class NodeDaemonEndpoints(Part, frozen=True, gc=False):
    kubelet_endpoint: DaemonEndpoint | None = None


class ContainerImage(Part, frozen=True, gc=False):
    names: Sequence[str] = ()
    size_bytes: int | None = None


class NodeStatus(Part, frozen=True, gc=False):
    addresses: Sequence[NodeAddress] = ()
    allocatable: Mapping[str, str] = {}
    capacity: Mapping[str, str] = {}
    conditions: Sequence[NodeCondition] = ()
    daemon_endpoints: NodeDaemonEndpoints | None = None
    images: Sequence[ContainerImage] = ()
    node_info: NodeSystemInfo | None = None
    phase: str = ""


class Node(KubernetesObject, frozen=True, gc=False):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
