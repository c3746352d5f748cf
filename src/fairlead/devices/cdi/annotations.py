"""Devices asked for by annotations, `cdi.k8s.io/NAME: DEVICE,DEVICE`: how device plugins asked container runtimes
before the kubelet's interface had a field for it, and still do on older nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fairlead.devices.cdi.errors import AnnotationError, InvalidName
from fairlead.devices.cdi.names import is_qualified_name, parse_qualified_name

PREFIX = "cdi.k8s.io/"

_MAX_NAME = 63
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")


def annotation_key(plugin: str, device_id: str) -> str:
    """The key of one plugin's request for one of its devices. `plugin` is by convention vendor.device-type; `device_id`
    tells its requests apart, a "/" in it becomes "_". Raises AnnotationError."""
    if not plugin or not device_id:
        raise AnnotationError(f'expected a plugin and a device id, got "{plugin}" and "{device_id}"')
    name = f"{plugin}_{device_id.replace('/', '_')}"
    if len(name) > _MAX_NAME:
        raise AnnotationError(
            f'"{name}": expected at most {_MAX_NAME} characters of plugin and device id, got {len(name)}'
        )
    if not _NAME.fullmatch(name):
        rule = "a letter or digit first and last, between them letters, digits, '-', '_' and '.'"
        raise AnnotationError(f'"{name}": expected {rule}')
    return PREFIX + name


def annotation_value(devices: Sequence[str]) -> str:
    """The devices as an annotation's value. Raises AnnotationError for one that is not a qualified name."""
    for device in devices:
        try:
            parse_qualified_name(device)
        except InvalidName as error:
            raise AnnotationError(str(error)) from error
    return ",".join(devices)


def add_request(annotations: Mapping[str, str], plugin: str, device_id: str, devices: Sequence[str]) -> dict[str, str]:
    """The annotations with a request for these devices. Raises AnnotationError, also if the key is taken."""
    key = annotation_key(plugin, device_id)
    if key in annotations:
        raise AnnotationError(f"{key}: the annotation is already there; use another device id")
    return {**annotations, key: annotation_value(devices)}


def requested_devices(annotations: Mapping[str, str]) -> list[str]:
    """The devices that all annotations of the form ask for, in the order of their keys. Raises AnnotationError with
    every value that is not a qualified name."""
    found: list[str] = []
    wrong: list[str] = []
    for key in sorted(annotations):
        if not key.startswith(PREFIX):
            continue
        for device in annotations[key].split(","):
            if is_qualified_name(device):
                found.append(device)
            else:
                wrong.append(f'{key}: "{device}"')
    if wrong:
        raise AnnotationError(f"{'; '.join(wrong)}: expected qualified device names, vendor/class=device")
    return found
