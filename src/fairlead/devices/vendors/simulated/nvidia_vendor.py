"""GPUs of one node from made-up facts: NVIDIA's devices, classes, configuration and container edits, without NVML.

Sharing and partitions are accepted as by the real vendor and change nothing but what a claim is told: there is no
hardware to set up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.devices.cdi.spec import ContainerEdits
from fairlead.devices.errors import ClaimError
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, Grant, Preparation, Vendor
from fairlead.devices.vendors.nvidia.classes import device_classes
from fairlead.devices.vendors.nvidia.config import read_config
from fairlead.devices.vendors.nvidia.driver_files import DriverFiles
from fairlead.devices.vendors.nvidia.edits import claim_edits, common_edits, gpu_edits
from fairlead.devices.vendors.nvidia.facts import Gpu, Gpus
from fairlead.devices.vendors.nvidia.inventory import Offer, build
from fairlead.devices.vendors.simulated.identity import Identity

DRIVER = "gpu.nvidia.com"
CDI_KIND = "nvidia.com/gpu"
_CONTROLS = ("/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl")


class SimulatedGpus(Vendor):
    name = "nvidia"

    def __init__(self, facts: Callable[[], Gpus], identity: Identity, offer: Offer) -> None:
        self.driver = DRIVER
        self.cdi_kind = CDI_KIND
        self._read = facts
        self._identity = identity
        self._offer = offer
        self._version = ""
        self._gpus: Mapping[str, Gpu] = {}
        self._devices: Mapping[str, Device] = {}

    def probe(self) -> Inventory:
        facts = self._read()
        inventory = build(facts, self._offer)
        self._version = facts.driver.version if facts.driver is not None else ""
        self._gpus = {gpu.name: gpu for gpu in facts.gpus}
        self._devices = {device.name: device for device in inventory.devices}
        return inventory

    def health(self) -> Mapping[str, Health]:
        return dict.fromkeys(self._devices, HEALTHY)

    def edits(self, device: Device) -> ContainerEdits:
        known = self._find(device.name)
        return gpu_edits(self._gpus[known.parent or known.name])

    def common_edits(self) -> ContainerEdits:
        return common_edits(DriverFiles(version=self._version, controls=_CONTROLS))

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        for grant in grants:
            read_config(claim, grant)
        uuids = dict.fromkeys(self._uuid(self._find(grant.device.name)) for grant in grants)
        return Preparation(edits=claim_edits(tuple(uuids), for_cuda=True))

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        return device_classes(self.driver)

    def _find(self, name: str) -> Device:
        found = self._devices.get(name)
        if found is None:
            raise ClaimError(f'driver "{self.driver}" has no device "{name}" on this node', retry=False)
        return found

    def _uuid(self, device: Device) -> str:
        """A partition made on demand has its uuid from the moment that it is made."""
        told = device.attributes.get("uuid")
        return str(told) if told is not None else f"MIG-{self._identity.uuid(device.name, 0)}"
