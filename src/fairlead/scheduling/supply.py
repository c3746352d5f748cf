"""What a fleet has, resource by resource: the capacity that queues share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fairlead.kube.objects.devices import (
    DeviceClaim,
    DeviceRequest,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimSpec,
)
from fairlead.kube.objects.meta import ObjectMeta
from fairlead.scheduling.fleet.fleet import Fleet

DEVICES_SUFFIX: Final = ".deviceclass.resource.k8s.io/devices"
"""Kubernetes' quota name of the devices of a class, after the name of the class."""

_MOST_ON_A_NODE: Final = 4096


def capacity_of(fleet: Fleet, resources: Iterable[str]) -> dict[str, int]:
    """How much there is of each resource, used or not. Devices are counted as claims for one each could have them:
    a card that can be cut in eight counts for eight."""
    return {
        name: _count_devices(fleet, name.removesuffix(DEVICES_SUFFIX))
        if name.endswith(DEVICES_SUFFIX)
        else sum(node.allocatable.get(name, 0) for node in fleet.nodes if node is not None)
        for name in resources
    }


def claim_of_one(device_class: str) -> ResourceClaim:
    """A claim that nobody has, for one device of a class."""
    request = DeviceRequest(
        name="one", exactly=ExactDeviceRequest(device_class_name=device_class, allocation_mode="ExactCount", count=1)
    )
    return ResourceClaim(
        metadata=ObjectMeta(name="one", uid=f"one-{device_class}"),
        spec=ResourceClaimSpec(devices=DeviceClaim(requests=(request,))),
    )


def _count_devices(fleet: Fleet, device_class: str) -> int:
    wants = fleet.devices.wants([claim_of_one(device_class)])
    return sum(fleet.devices.idle_room(wants, node.name, _MOST_ON_A_NODE) for node in fleet.nodes if node is not None)
