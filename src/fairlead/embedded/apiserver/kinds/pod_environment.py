"""Validation of a container's environment: variables, their sources, and references to fields and resources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import (
    config_map_key,
    dns_subdomain,
    qualified_name,
    relaxed_env_name,
)
from fairlead.embedded.apiserver.kinds.pod_paths import validate_local_path
from fairlead.kube.quantity import Quantity, parse_quantity

_ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_FIELD_LABELS = frozenset((*_ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"))
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_subscripted = re.compile(r"(?P<path>[^\[]+)\['(?P<key>[^']*)'\]").fullmatch
_ONE_OF = "may not have more than one field specified at a time"


def validate_env(errors: Errors, variables: Sequence[Mapping[str, Any]], path: str) -> None:
    """`env` of a container."""
    for index, variable in enumerate(variables):
        name = variable.get("name", "")
        if not name:
            errors.append(required(f"{path}[{index}].name"))
        else:
            messages = relaxed_env_name(name)
            if messages:
                add_each(errors, f"{path}[{index}].name", name, messages)
        source = variable.get("valueFrom")
        if source is not None:
            _validate_source(errors, source, variable.get("value"), f"{path}[{index}].valueFrom")


def _validate_source(errors: Errors, source: Mapping[str, Any], value: str | None, path: str) -> None:
    count = 0
    if source.get("fieldRef") is not None:
        count += 1
        validate_field_ref(errors, source["fieldRef"], _ENV_FIELDS, f"{path}.fieldRef")
    if source.get("resourceFieldRef") is not None:
        count += 1
        validate_resource_ref(errors, source["resourceFieldRef"], f"{path}.resourceFieldRef", in_volume=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.get(kind) is not None:
            count += 1
            _validate_key_ref(errors, source[kind], f"{path}.{kind}")
    if source.get("fileKeyRef") is not None:
        count += 1
        _validate_file_ref(errors, source["fileKeyRef"], f"{path}.fileKeyRef")
    if count == 0:
        detail = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        errors.append(invalid(path, "", detail))
    elif value:
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        errors.append(invalid(path, "", _ONE_OF))


def validate_field_ref(errors: Errors, ref: Mapping[str, Any], allowed: Sequence[str], path: str) -> None:
    """A reference to one of the pod's own fields, through the downward API."""
    version, field_path = ref.get("apiVersion", ""), ref.get("fieldPath", "")
    if not version:
        errors.append(required(f"{path}.apiVersion"))
        return
    if not field_path:
        errors.append(required(f"{path}.fieldPath"))
        return
    if version != "v1":
        detail = f"error converting fieldPath: unsupported pod version: {version}"
        errors.append(invalid(f"{path}.fieldPath", field_path, detail))
        return
    match = _subscripted(field_path)
    if match is None:
        plain = "spec.nodeName" if field_path == "spec.host" else field_path
        if plain not in _FIELD_LABELS:
            detail = f"error converting fieldPath: field label not supported: {field_path}"
            errors.append(invalid(f"{path}.fieldPath", field_path, detail))
        elif plain not in allowed:
            errors.append(not_supported(f"{path}.fieldPath", plain, allowed))
        return
    if match["path"] not in ("metadata.annotations", "metadata.labels"):
        detail = f"error converting fieldPath: field label does not support subscript: {field_path}"
        errors.append(invalid(f"{path}.fieldPath", field_path, detail))
        return
    key = match["key"].lower() if match["path"] == "metadata.annotations" else match["key"]
    add_each(errors, path, key, qualified_name(key))


def validate_resource_ref(errors: Errors, ref: Mapping[str, Any], path: str, *, in_volume: bool) -> None:
    """A reference to a container's requests or limits, through the downward API."""
    resource = ref.get("resource", "")
    if in_volume and not ref.get("containerName"):
        errors.append(required(f"{path}.containerName"))
    elif not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        errors.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    divisor = ref.get("divisor") or "0"
    if parse_quantity(divisor) == Quantity(0):
        return
    _, _, name = resource.partition(".")
    listed = ", ".join(_BYTE_DIVISORS)
    if name == "cpu":
        if divisor not in ("1m", "1"):
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            errors.append(invalid(f"{path}.divisor", resource, detail))
        return
    shown = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(name)
    if shown is None and resource.startswith(_HUGE_PAGES):
        shown = "hugepages"
    if shown and divisor not in _BYTE_DIVISORS:
        detail = f"only divisor's values {listed} are supported with the {shown} resource"
        errors.append(invalid(f"{path}.divisor", resource, detail))


def _validate_key_ref(errors: Errors, ref: Mapping[str, Any], path: str) -> None:
    name, key = ref.get("name", ""), ref.get("key", "")
    add_each(errors, f"{path}.name", name, dns_subdomain(name))
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        add_each(errors, f"{path}.key", key, config_map_key(key))


def _validate_file_ref(errors: Errors, ref: Mapping[str, Any], path: str) -> None:
    key = ref.get("key", "")
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        add_each(errors, f"{path}.key", key, relaxed_env_name(key))
    if not ref.get("volumeName"):
        errors.append(required(f"{path}.volumeName"))
    if not ref.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        validate_local_path(errors, ref["path"], f"{path}.path")


def validate_env_from(errors: Errors, sources: Sequence[Mapping[str, Any]], path: str) -> None:
    """`envFrom` of a container."""
    for index, source in enumerate(sources):
        at = f"{path}[{index}]"
        prefix = source.get("prefix")
        if prefix:
            add_each(errors, f"{at}.prefix", prefix, relaxed_env_name(prefix))
        count = 0
        for kind in ("configMapRef", "secretRef"):
            ref = source.get(kind)
            if ref is None:
                continue
            count += 1
            name = ref.get("name", "")
            if not name:
                errors.append(required(f"{at}.{kind}.name"))
            else:
                shown = name[:-2] + "a" if len(name) > 1 and name.endswith("-") else name
                add_each(errors, f"{at}.{kind}.name", name, dns_subdomain(shown))
        if count == 0:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif count > 1:
            errors.append(invalid(path, "", _ONE_OF))
