"""The group networking.k8s.io, v1: Ingress, IngressClass, NetworkPolicy, and the addresses of services."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.ingress import IngressClassStrategy, IngressStrategy
from fairlead.embedded.apiserver.kinds.network_policy import NetworkPolicyStrategy
from fairlead.embedded.apiserver.kinds.service_network import AddressStrategy, RangeStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of networking.k8s.io/v1."""
    return [
        resource_type(
            "networking.k8s.io/v1",
            "ingressclasses",
            "IngressClass",
            namespaced=False,
            strategy=IngressClassStrategy(),
            has_generation=True,
        ),
        resource_type(
            "networking.k8s.io/v1",
            "ingresses",
            "Ingress",
            strategy=IngressStrategy(),
            short_names=("ing",),
            has_status=True,
            has_generation=True,
            reset_fields=STATUS,
        ),
        resource_type(
            "networking.k8s.io/v1",
            "ipaddresses",
            "IPAddress",
            namespaced=False,
            strategy=AddressStrategy(),
            short_names=("ip",),
        ),
        resource_type(
            "networking.k8s.io/v1",
            "networkpolicies",
            "NetworkPolicy",
            strategy=NetworkPolicyStrategy(),
            short_names=("netpol",),
            has_generation=True,
        ),
        resource_type(
            "networking.k8s.io/v1",
            "servicecidrs",
            "ServiceCIDR",
            namespaced=False,
            strategy=RangeStrategy(),
            has_status=True,
            reset_fields=STATUS,
        ),
    ]
