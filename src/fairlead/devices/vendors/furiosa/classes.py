"""DeviceClasses for RNGD: by name, what people ask for.

The class of whole cards has the name and the extended resource of Furiosa's own driver and device plugin; the classes
of parts are named like the device plugin's resources for them ("furiosa.ai/rngd-2core.12gb").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PARTS = ((1, "1core.6gb"), (2, "2core.12gb"), (4, "4core.24gb"))


def device_classes(driver: str, *, partitions: bool) -> Sequence[Mapping[str, Any]]:
    cards = [_device_class(driver, driver, 'type == "card"', "furiosa.ai/rngd")]
    if not partitions:
        return cards
    parts = [
        _device_class(f"{size}.{driver}", driver, f"peCount == {count}", f"furiosa.ai/rngd-{size}")
        for count, size in _PARTS
    ]
    return [*cards, _device_class(f"partition.{driver}", driver, 'type == "partition"'), *parts]


def _device_class(name: str, driver: str, condition: str, extended_resource: str = "") -> Mapping[str, Any]:
    """`condition` begins with the name of an attribute of the driver."""
    expression = f'device.driver == "{driver}" && device.attributes["{driver}"].{condition}'
    spec: dict[str, Any] = {"selectors": [{"cel": {"expression": expression}}]}
    if extended_resource:
        spec["extendedResourceName"] = extended_resource
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": spec,
    }
