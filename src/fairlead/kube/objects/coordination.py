"""Leases (coordination.k8s.io/v1)."""

from __future__ import annotations

from fairlead.kube.objects.meta import KubernetesObject, Part


class LeaseSpec(Part, frozen=True, gc=False):
    acquire_time: str | None = None
    holder_identity: str = ""
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None
    preferred_holder: str = ""
    renew_time: str | None = None
    strategy: str = ""


class Lease(KubernetesObject, frozen=True, gc=False):
    spec: LeaseSpec = LeaseSpec()
