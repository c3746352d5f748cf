"""DeviceClasses for network ports: any of them, those with RDMA, and virtual functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def device_classes(driver: str) -> Sequence[Mapping[str, Any]]:
    attributes = f'device.attributes["{driver}"]'
    return (
        _device_class(driver, f'device.driver == "{driver}"'),
        _device_class(f"rdma.{driver}", f'device.driver == "{driver}" && {attributes}.rdma'),
        _device_class(f"sriov.{driver}", f'device.driver == "{driver}" && {attributes}.isSriovVf'),
    )


def _device_class(name: str, expression: str) -> Mapping[str, Any]:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }
