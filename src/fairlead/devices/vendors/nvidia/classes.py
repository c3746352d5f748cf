"""DeviceClasses as NVIDIA's own chart installs them, so that claims written for it work here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def device_classes(driver: str) -> Sequence[Mapping[str, Any]]:
    return [
        _device_class("gpu.nvidia.com", driver, "gpu", "nvidia.com/gpu"),
        _device_class("mig.nvidia.com", driver, "mig"),
        _device_class("vfio.gpu.nvidia.com", driver, "vfio"),
    ]


def _device_class(name: str, driver: str, kind: str, extended_resource: str = "") -> Mapping[str, Any]:
    expression = f"device.driver == '{driver}' && device.attributes['{driver}'].type == '{kind}'"
    spec: dict[str, Any] = {"selectors": [{"cel": {"expression": expression}}]}
    if extended_resource:
        spec["extendedResourceName"] = extended_resource
    return {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name}, "spec": spec}
