"""What a kubelet and its plugins say to each other: plugin registration, DRA and device health over gRPC sockets."""

from fairlead.kube.kubelet.services import (
    DRA_V1,
    DRA_V1BETA1,
    HEALTH_V1,
    HEALTH_V1ALPHA1,
    REGISTRATION,
    Method,
    Service,
    handler,
    stub,
)

__all__ = [
    "DRA_V1",
    "DRA_V1BETA1",
    "HEALTH_V1",
    "HEALTH_V1ALPHA1",
    "REGISTRATION",
    "Method",
    "Service",
    "handler",
    "stub",
]
