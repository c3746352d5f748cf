"""Namespaces and ServiceAccounts (core/v1)."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.kube.objects.meta import KubernetesObject, Part
from fairlead.kube.objects.volumes import ObjectReference


class ServiceAccount(KubernetesObject, frozen=True, gc=False):
    automount_service_account_token: bool | None = None
    secrets: Sequence[ObjectReference] = ()


class NamespaceSpec(Part, frozen=True, gc=False):
    finalizers: Sequence[str] = ()


class NamespaceCondition(Part, frozen=True, gc=False):
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class NamespaceStatus(Part, frozen=True, gc=False):
    conditions: Sequence[NamespaceCondition] = ()
    phase: str = ""


class Namespace(KubernetesObject, frozen=True, gc=False):
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()
