"""Validation of a pod's operating system: its name, and what the other system's pods may not set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors

_SYSTEMS = ("linux", "windows")
_NOT_IN_WINDOWS = "cannot be set for a windows pod"
_NOT_IN_LINUX = "windows options cannot be set for a linux pod"

# Of the pod's spec and its security context, in the order in which the API names them.
_OF_POD = (
    "securityContext.appArmorProfile",
    "securityContext.seLinuxOptions",
    "hostUsers",
    "hostPID",
    "hostIPC",
    "securityContext.seccompProfile",
    "securityContext.fsGroup",
    "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls",
    "shareProcessNamespace",
    "securityContext.runAsUser",
    "securityContext.runAsGroup",
    "securityContext.supplementalGroups",
    "securityContext.supplementalGroupsPolicy",
)
_OF_CONTAINER = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
_SET_BY_TRUTH = frozenset({"hostPID", "hostIPC", "securityContext.sysctls"})
"""What counts as set only when it is true or not empty."""


def validate_system(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    """A pod spec's `os`, which allows or forbids other fields."""
    system = spec.get("os")
    if system is None:
        return
    name = system.get("name", "")
    if not name:
        errors.append(required(f"{path}.os.name", "cannot be empty"))
    elif name not in _SYSTEMS:
        errors.append(not_supported(f"{path}.os", name, _SYSTEMS))
    elif name == "linux":
        if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
            errors.append(forbidden(f"{path}.securityContext.windowsOptions", _NOT_IN_LINUX))
        for at, context in _container_contexts(spec, path):
            if context.get("windowsOptions") is not None:
                errors.append(forbidden(f"{at}.windowsOptions", _NOT_IN_LINUX))
    else:
        _validate_windows(errors, spec, path)


def _validate_windows(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    context = spec.get("securityContext") or {}
    for field in _OF_POD:
        value = (context if "." in field else spec).get(field.rpartition(".")[2])
        if value if field in _SET_BY_TRUTH else value is not None:
            errors.append(forbidden(f"{path}.{field}", _NOT_IN_WINDOWS))
    for at, own in _container_contexts(spec, path):
        for field in _OF_CONTAINER:
            if own.get(field) is not None:
                errors.append(forbidden(f"{at}.{field}", _NOT_IN_WINDOWS))


def _container_contexts(spec: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield f"{path}.{group}[{index}].securityContext", container.get("securityContext") or {}
