"""Validation of a container's volume mounts and block devices against the pod's volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, invalid, not_found, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.pod_paths import validate_descending_path

Volumes = Mapping[str, Mapping[str, Any]]
"""The valid volumes of a pod by name."""

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")


def validate_mounts(errors: Errors, container: Mapping[str, Any], volumes: Volumes, path: str) -> None:
    """`volumeMounts` of a container."""
    mounts = container.get("volumeMounts")
    if not mounts:
        return
    devices = {device.get("name"): device.get("devicePath") for device in container.get("volumeDevices") or ()}
    taken: set[str] = set()
    for index, mount in enumerate(mounts):
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{path}[{index}].name"))
        if name not in volumes:
            errors.append(not_found(f"{path}[{index}].name", name))
        if not target:
            errors.append(required(f"{path}[{index}].mountPath"))
        if target in taken:
            errors.append(invalid(f"{path}[{index}].mountPath", target, "must be unique"))
        taken.add(target)
        if devices:
            _validate_overlap(errors, mount, devices, f"{path}[{index}]")
        if len(mount) > 2:
            _validate_sub_path(errors, mount, volumes.get(name) or {}, path, f"{path}[{index}]")
            _validate_propagation(errors, mount, container, f"{path}.mountPropagation")
            _validate_recursive_read_only(errors, mount, f"{path}.recursiveReadOnly")


def _validate_overlap(
    errors: Errors, mount: Mapping[str, Any], devices: Mapping[str | None, str | None], path: str
) -> None:
    name, target = mount.get("name", ""), mount.get("mountPath", "")
    if name in devices:
        errors.append(invalid(f"{path}.name", name, "must not already exist in volumeDevices"))
    if target in devices.values():
        errors.append(invalid(f"{path}.mountPath", target, "must not already exist as a path in volumeDevices"))


# The API reports sub paths, propagation and recursion at the list, not at its item.
def _validate_sub_path(
    errors: Errors, mount: Mapping[str, Any], volume: Mapping[str, Any], list_path: str, path: str
) -> None:
    sub_path, expression = mount.get("subPath"), mount.get("subPathExpr")
    if volume.get("image") is not None and expression:
        errors.append(invalid(f"{path}.subPathExpr", expression, "not allowed in image volume sources"))
    if sub_path:
        validate_descending_path(errors, sub_path, f"{list_path}.subPath")
    if expression:
        if sub_path:
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(invalid(f"{path}.subPathExpr", expression, detail))
        validate_descending_path(errors, expression, f"{list_path}.subPathExpr")


def _validate_propagation(errors: Errors, mount: Mapping[str, Any], container: Mapping[str, Any], path: str) -> None:
    propagation = mount.get("mountPropagation")
    if propagation is None:
        return
    if propagation not in _PROPAGATIONS:
        errors.append(not_supported(path, propagation, _PROPAGATIONS))
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        detail = "Bidirectional mount propagation is available only to privileged containers"
        errors.append(forbidden(path, detail))


def _validate_recursive_read_only(errors: Errors, mount: Mapping[str, Any], path: str) -> None:
    mode = mount.get("recursiveReadOnly")
    if mode is None or mode == "Disabled":
        return
    if mode not in _RECURSIVE:
        errors.append(not_supported(path, mode, _RECURSIVE))
        return
    if not mount.get("readOnly"):
        errors.append(forbidden(path, "may only be specified when readOnly is true"))
    if mount.get("mountPropagation") not in (None, "None"):
        detail = "may only be specified when mountPropagation is None or not specified"
        errors.append(forbidden(path, detail))


def validate_devices(errors: Errors, container: Mapping[str, Any], volumes: Volumes, path: str) -> None:
    """`volumeDevices` of a container: block devices from persistent volume claims."""
    devices: Sequence[Mapping[str, Any]] = container.get("volumeDevices") or ()
    if not devices:
        return
    mounts = {mount.get("name"): mount.get("mountPath") for mount in container.get("volumeMounts") or ()}
    names: set[str] = set()
    targets: set[str] = set()
    for index, device in enumerate(devices):
        name, target, at = device.get("name", ""), device.get("devicePath", ""), f"{path}[{index}]"
        volume = volumes.get(name)
        if not name:
            errors.append(required(f"{at}.name"))
        if name in names:
            errors.append(invalid(f"{at}.name", name, "must be unique"))
        if volume is None:
            errors.append(not_found(f"{at}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid(f"{at}.name", name, detail))
        _validate_device_path(errors, target, targets, f"{at}.devicePath")
        if name in mounts:
            errors.append(invalid(f"{at}.name", name, "must not already exist in volumeMounts"))
        if target in mounts.values():
            errors.append(invalid(f"{at}.devicePath", target, "must not already exist as a path in volumeMounts"))
        if name:
            names.add(name)


def _validate_device_path(errors: Errors, target: str, taken: set[str], path: str) -> None:
    if not target:
        errors.append(required(path))
    if target in taken:
        errors.append(invalid(path, target, "must be unique"))
    if ".." in target.split("/"):
        errors.append(invalid(path, target, "can not contain backsteps ('..')"))
    else:
        taken.add(target)
