"""AMD Instinct GPUs, as the ROCm DRA driver publishes them: a driver of the simulated fleets only.

Source of names and of how values are written: ROCm/k8s-gpu-dra-driver (docs/driver-attributes.md, deviceinfo.go,
discovery of pkg/amdgpu). Its driverSrcVersion is left out: it is a hash of a driver's source. Its deviceID may be the
GPU's unique id instead of the PCI id, depending on the version; here it is the PCI id. Beside its attributes stand the
standard numaNode, and switch and socket as every vendor has them, and `xgmiHive`: equal for GPUs that are joined over
Infinity Fabric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.inventory import (
    NUMA_NODE,
    PCI_BUS_ID,
    PCIE_ROOT,
    PCIE_SWITCH,
    SOCKET,
    Attribute,
    Capacity,
    Device,
    Inventory,
    Link,
    Version,
)
from fairlead.devices.vendor import ClaimReference, Grant, Preparation, Vendor
from fairlead.devices.vendors.simulated.layout import Seat
from fairlead.kube.quantity import Format, Quantity

DRIVER = "gpu.amd.com"
CDI_KIND = "amd.com/gpu"
_FIRST_RENDER_NODE = 128
_SIMD_UNITS_PER_COMPUTE_UNIT = 4
_XGMI_SCORE = 70
_FAMILY = "AI"
"""libdrm's family of Instinct GPUs from the MI100 on (AMDGPU_FAMILY_AI)."""


@dataclass(frozen=True, slots=True)
class AmdGpu:
    """One GPU. `card` is its number among the DRM cards, from 1 where the board's own graphics is card 0."""

    card: int
    title: str
    device_id: str
    driver_version: str
    memory_bytes: int
    compute_units: int
    seat: Seat
    hive: str = ""
    """Of GPUs that are joined over XGMI, as the kernel numbers it; empty for one that stands alone."""

    @property
    def render(self) -> int:
        return _FIRST_RENDER_NODE + self.card - 1

    @property
    def name(self) -> str:
        return f"gpu-{self.card}-{self.render}"


def build(gpus: Sequence[AmdGpu]) -> Inventory:
    """The node's GPUs; those of a hive are joined each with every other."""
    joined = [(a, b) for a, b in combinations(gpus, 2) if a.hive and a.hive == b.hive]
    return Inventory(
        devices=tuple(_device(gpu) for gpu in gpus),
        links=tuple(Link(a.name, b.name, "XGMI", _XGMI_SCORE) for a, b in joined),
    )


def _device(gpu: AmdGpu) -> Device:
    attributes: dict[str, Attribute] = {
        "type": "amdgpu",
        "pciAddr": gpu.seat.bus_id,
        "cardIndex": gpu.card,
        "renderIndex": gpu.render,
        "family": _FAMILY,
        "deviceID": f"0x{gpu.device_id}",
        # As the driver writes it, which puts underscores for blanks.
        "productName": gpu.title.replace(" ", "_"),
        "driverVersion": Version(gpu.driver_version),
        "partitionProfile": "spx_nps1",
        "numaNode": gpu.seat.numa_node,
        PCI_BUS_ID: gpu.seat.bus_id,
        PCIE_ROOT: gpu.seat.root,
        NUMA_NODE: gpu.seat.numa_node,
        SOCKET: gpu.seat.socket,
    }
    if gpu.seat.switch is not None:
        attributes[PCIE_SWITCH] = gpu.seat.switch
    if gpu.hive:
        attributes["xgmiHive"] = gpu.hive
    capacity = {
        "memory": Capacity(str(Quantity(gpu.memory_bytes, Format.BINARY_SI))),
        "computeUnits": Capacity(str(gpu.compute_units)),
        "simdUnits": Capacity(str(gpu.compute_units * _SIMD_UNITS_PER_COMPUTE_UNIT)),
    }
    return Device(gpu.name, attributes, capacity)


class AmdVendor(Vendor):
    """The GPUs of one node."""

    name = "amd"
    driver = DRIVER
    cdi_kind = CDI_KIND

    def __init__(self, gpus: Sequence[AmdGpu]) -> None:
        self._by_name = {gpu.name: gpu for gpu in gpus}
        self._inventory = build(gpus)

    def probe(self) -> Inventory:
        return self._inventory

    def health(self) -> Mapping[str, Health]:
        return dict.fromkeys(self._by_name, HEALTHY)

    def edits(self, device: Device) -> ContainerEdits:
        gpu = self._by_name[device.name]
        paths = (f"/dev/dri/card{gpu.card}", f"/dev/dri/renderD{gpu.render}")
        return ContainerEdits(device_nodes=tuple(DeviceNode(path, permissions="rw") for path in paths))

    def common_edits(self) -> ContainerEdits:
        # The compute interface, one for all GPUs.
        return ContainerEdits(device_nodes=(DeviceNode("/dev/kfd", permissions="rw"),))

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        super().prepare(claim, grants)
        # A process sees the render nodes that it got, and numbers them from 0.
        visible = ",".join(str(number) for number in range(len({grant.device.name for grant in grants})))
        return Preparation(edits=ContainerEdits(env=(f"ROCR_VISIBLE_DEVICES={visible}",)))

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        return (
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "DeviceClass",
                "metadata": {"name": DRIVER},
                "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]},
            },
        )
