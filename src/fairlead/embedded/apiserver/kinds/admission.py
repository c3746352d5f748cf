"""The group admissionregistration.k8s.io, v1: webhook configurations and admission policies, stored but not enforced."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import ResourceType

_API_VERSION = "admissionregistration.k8s.io/v1"


def types() -> list[ResourceType]:
    """The kinds of admissionregistration.k8s.io/v1."""
    return [
        _configuration("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
        _configuration("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
        _configuration("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        resource_type(
            _API_VERSION,
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            namespaced=False,
            strategy=ClusterStrategy(),
            categories=("api-extensions",),
            has_status=True,
            has_generation=True,
            reset_fields=STATUS,
        ),
        _configuration("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
        _configuration("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    ]


def _configuration(resource: str, kind: str) -> ResourceType:
    return resource_type(
        _API_VERSION,
        resource,
        kind,
        namespaced=False,
        strategy=ClusterStrategy(),
        categories=("api-extensions",),
        has_generation=True,
    )
