"""ConfigMaps and Secrets (core/v1). Binary values are bytes here and base64 on the wire."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.kube.objects.meta import KubernetesObject


class ConfigMap(KubernetesObject, frozen=True, gc=False):
    binary_data: Mapping[str, bytes] = {}
    data: Mapping[str, str] = {}
    immutable: bool | None = None


class Secret(KubernetesObject, frozen=True, gc=False):
    data: Mapping[str, bytes] = {}
    immutable: bool | None = None
    string_data: Mapping[str, str] = {}
    type: str = ""
