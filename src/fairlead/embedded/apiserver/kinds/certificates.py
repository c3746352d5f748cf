"""The group certificates.k8s.io, v1: signing requests, which nobody signs here."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, at, resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of certificates.k8s.io/v1."""
    return [
        resource_type(
            "certificates.k8s.io/v1",
            "certificatesigningrequests",
            "CertificateSigningRequest",
            namespaced=False,
            strategy=ClusterStrategy(),
            short_names=("csr",),
            has_status=True,
            selectable_fields={"spec.signerName": at("spec", "signerName")},
            reset_fields=STATUS,
        ),
    ]
