"""Hosts with TPU chips: v4 with the accel driver, later ones with VFIO."""

from __future__ import annotations

from pathlib import Path

from devices.vendors.sysfs_machine import Machine

DEVICE_IDS = {"v4": "005e", "v5p": "0062", "v5litepod": "0063", "v6e": "006f", "tpu7x": "0076"}


class TpuMachine(Machine):
    """`chips` chips, half of them on each of two NUMA nodes, and a network card of the same PCI vendor."""

    def __init__(self, root: Path, generation: str, chips: int) -> None:
        super().__init__(root)
        self.generation = generation
        self.sockets(2)
        self.pci("pci0000:00/0000:00:03.0", vendor="1ae0", device="0042", pci_class="0x020000", driver="gve")
        self.device_node("/dev/vfio/vfio", 10, 196)
        for index in range(chips):
            self.add_chip(index, numa=0 if index < chips / 2 else 1)

    def bus_id(self, index: int) -> str:
        return f"0000:00:{index + 4:02x}.0"

    def folder(self, index: int) -> str:
        return f"/sys/devices/pci0000:00/{self.bus_id(index)}"

    def group(self, index: int) -> int:
        """IOMMU groups are numbered by nobody's order."""
        return 30 - 3 * index

    def add_chip(self, index: int, numa: int) -> None:
        accel = self.generation == "v4"
        self.pci(
            f"pci0000:00/{self.bus_id(index)}",
            vendor="1ae0",
            device=DEVICE_IDS[self.generation],
            numa=numa,
            driver="accel" if accel else "vfio-pci",
        )
        if accel:
            self.write(f"{self.folder(index)}/accel/accel{index}/status", "ALIVE\n")
            self.link(f"{self.folder(index)}/accel/accel{index}/device", self.folder(index))
            self.link(f"/sys/class/accel/accel{index}", f"{self.folder(index)}/accel/accel{index}")
            self.device_node(f"/dev/accel{index}", 120, index)
            return
        group = self.group(index)
        self.path(f"/sys/kernel/iommu_groups/{group}").mkdir(parents=True)
        self.link(f"{self.folder(index)}/iommu_group", f"/sys/kernel/iommu_groups/{group}")
        self.device_node(f"/dev/vfio/{group}", 236, index)

    def drop_chip(self, index: int) -> None:
        self.remove(f"/sys/bus/pci/devices/{self.bus_id(index)}")
        if self.generation == "v4":
            self.remove(f"/sys/class/accel/accel{index}")
            self.remove(f"/dev/accel{index}")
        else:
            self.remove(f"/dev/vfio/{self.group(index)}")
        self.remove(self.folder(index))
