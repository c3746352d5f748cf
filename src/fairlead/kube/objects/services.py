"""Services and the endpoints behind them (core/v1, discovery.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.kube.objects.meta import Condition, KubernetesObject, Part
from fairlead.kube.objects.volumes import ObjectReference


class ServicePort(Part, frozen=True, gc=False):
    app_protocol: str = ""
    name: str = ""
    node_port: int | None = None
    port: int = 0
    protocol: str = ""
    target_port: int | str | None = None


class ServiceSpec(Part, frozen=True, gc=False):
    allocate_load_balancer_node_ports: bool | None = None
    cluster_ip: str = ""
    cluster_ips: Sequence[str] = ()
    external_ips: Sequence[str] = ()
    external_name: str = ""
    external_traffic_policy: str = ""
    health_check_node_port: int | None = None
    internal_traffic_policy: str = ""
    ip_families: Sequence[str] = ()
    ip_family_policy: str = ""
    load_balancer_class: str = ""
    load_balancer_ip: str = ""
    load_balancer_source_ranges: Sequence[str] = ()
    ports: Sequence[ServicePort] = ()
    publish_not_ready_addresses: bool | None = None
    selector: Mapping[str, str] = {}
    session_affinity: str = ""
    traffic_distribution: str = ""
    type: str = ""


class LoadBalancerIngress(Part, frozen=True, gc=False):
    hostname: str = ""
    ip: str = ""
    ip_mode: str = ""


class LoadBalancerStatus(Part, frozen=True, gc=False):
    ingress: Sequence[LoadBalancerIngress] = ()


class ServiceStatus(Part, frozen=True, gc=False):
    conditions: Sequence[Condition] = ()
    load_balancer: LoadBalancerStatus | None = None


class Service(KubernetesObject, frozen=True, gc=False):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointAddress(Part, frozen=True, gc=False):
    hostname: str = ""
    ip: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


class EndpointsPort(Part, frozen=True, gc=False):
    app_protocol: str = ""
    name: str = ""
    port: int = 0
    protocol: str = ""


class EndpointSubset(Part, frozen=True, gc=False):
    addresses: Sequence[EndpointAddress] = ()
    not_ready_addresses: Sequence[EndpointAddress] = ()
    ports: Sequence[EndpointsPort] = ()


class Endpoints(KubernetesObject, frozen=True, gc=False):
    subsets: Sequence[EndpointSubset] = ()


class EndpointConditions(Part, frozen=True, gc=False):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Part, frozen=True, gc=False):
    name: str = ""


class ForNode(Part, frozen=True, gc=False):
    name: str = ""


class EndpointHints(Part, frozen=True, gc=False):
    for_nodes: Sequence[ForNode] = ()
    for_zones: Sequence[ForZone] = ()


class Endpoint(Part, frozen=True, gc=False):
    addresses: Sequence[str] = ()
    conditions: EndpointConditions | None = None
    deprecated_topology: Mapping[str, str] = {}
    hints: EndpointHints | None = None
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None
    zone: str = ""


class EndpointPort(Part, frozen=True, gc=False):
    app_protocol: str = ""
    name: str = ""
    port: int | None = None
    protocol: str = ""


class EndpointSlice(KubernetesObject, frozen=True, gc=False):
    address_type: str = ""
    endpoints: Sequence[Endpoint] = ()
    ports: Sequence[EndpointPort] = ()
