"""GPUs that are bound to vfio-pci, for virtual machines. NVML does not see them; sysfs does."""

from __future__ import annotations

import re

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.nvidia.facts import VfioGpu

_PCI = "/sys/bus/pci/devices"
_NVIDIA = "10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")
"""VGA and 3D controllers: the GPUs among NVIDIA's functions, beside bridges, audio and USB."""
_READ_WRITE_MEMORY = 0x200
"""IORESOURCE_MEM, in the flags of a line of `resource`."""


def read_vfio(host: Host) -> tuple[VfioGpu, ...]:
    """In the order of bus ids; `index` counts all NVIDIA GPUs, also those that the nvidia driver has, so that it stays
    when others are bound. A function that leaves in the middle is not there."""
    found = []
    for index, bus_id in enumerate(name for name in host.names(_PCI) if _is_gpu(host, name)):
        try:
            if host.link(f"{_PCI}/{bus_id}/driver").rpartition("/")[2] != "vfio-pci":
                continue
            group = host.link(f"{_PCI}/{bus_id}/iommu_group").rpartition("/")[2]
            pci = host.pci(bus_id)
        except ProbeError:
            continue
        characters = host.names(f"{_PCI}/{bus_id}/vfio-dev")
        found.append(
            VfioGpu(
                index=index,
                pci=pci,
                iommu_group=int(group) if group.isdigit() else -1,
                character_device=characters[0] if characters else "",
                addressable_memory_bytes=_memory(host, bus_id),
            )
        )
    return tuple(vfio for vfio in found if vfio.iommu_group >= 0)


def _is_gpu(host: Host, bus_id: str) -> bool:
    folder = f"{_PCI}/{bus_id}"
    vendor = host.text(f"{folder}/vendor", "").removeprefix("0x")
    return vendor == _NVIDIA and host.text(f"{folder}/class", "").startswith(_DISPLAY_CLASSES)


def _memory(host: Host, bus_id: str) -> int:
    """The size of the largest memory window, which is how much of the GPU's memory the bus can address."""
    most = 0
    for line in host.text(f"{_PCI}/{bus_id}/resource", "").splitlines():
        numbers = re.findall(r"0x[0-9a-f]+", line)
        if len(numbers) == 3 and int(numbers[2], 16) & _READ_WRITE_MEMORY:
            most = max(most, int(numbers[1], 16) - int(numbers[0], 16) + 1)
    return most
