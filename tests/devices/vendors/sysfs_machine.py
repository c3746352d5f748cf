"""A machine's /sys, /proc and /dev as files below a folder, in the shape that Linux gives them."""

from __future__ import annotations

import os
from pathlib import Path

from fairlead.devices.host import Host


class Machine:
    """Written piece by piece; paths are those of the machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    @property
    def host(self) -> Host:
        return Host(self.root)

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def link(self, path: str, target: str) -> None:
        """A symbolic link, relative as in sysfs; `target` is a path of the machine and need not be there."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        # From where the link really is: the path to it may itself go over links.
        place.symlink_to(os.path.relpath(self.root.resolve() / target.lstrip("/"), place.parent.resolve()))

    def remove(self, path: str) -> None:
        """A file, link or folder with all in it."""
        target = self.path(path)
        if target.is_symlink() or target.is_file():
            target.unlink()
            return
        for child in target.iterdir():
            self.remove(f"{path}/{child.name}")
        target.rmdir()

    def device_node(self, path: str, major: int, minor: int) -> None:
        self.write(path, f"c {major}:{minor}\n")

    def sockets(self, numa_nodes: int, cpus_each: int = 4) -> None:
        """One socket for each NUMA node."""
        for node in range(numa_nodes):
            first = node * cpus_each
            self.write(f"/sys/devices/system/node/node{node}/cpulist", f"{first}-{first + cpus_each - 1}\n")
            for cpu in range(first, first + cpus_each):
                self.write(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", f"{node}\n")

    def pci(
        self,
        chain: str,
        *,
        vendor: str,
        device: str,
        numa: int = 0,
        pci_class: str = "0x120000",
        driver: str = "",
        width: int = 16,
    ) -> str:
        """A function at the end of a chain of bus ids below a root ("pci0000:20/0000:20:01.0/0000:27:00.0"); returns
        its folder. The bridges above are made where they are not there yet."""
        folder = f"/sys/devices/{chain}"
        parts = chain.split("/")
        for depth in range(2, len(parts)):
            above = "/".join(parts[:depth])
            if not self.path(f"/sys/devices/{above}/vendor").exists():
                self._function(f"/sys/devices/{above}", "0x1000", "0xc030", numa, "0x060400", width=16)
        self._function(folder, f"0x{vendor}", f"0x{device}", numa, pci_class, width=width)
        if driver:
            self.path(f"/sys/bus/pci/drivers/{driver}").mkdir(parents=True, exist_ok=True)
            self.link(f"{folder}/driver", f"/sys/bus/pci/drivers/{driver}")
        return folder

    def _function(self, folder: str, vendor: str, device: str, numa: int, pci_class: str, width: int) -> None:
        for name, text in {
            "vendor": vendor,
            "device": device,
            "class": pci_class,
            "numa_node": str(numa),
            "current_link_width": str(width),
            "max_link_width": str(width),
            "current_link_speed": "32.0 GT/s PCIe",
            "max_link_speed": "32.0 GT/s PCIe",
        }.items():
            self.write(f"{folder}/{name}", f"{text}\n")
        self.link(f"/sys/bus/pci/devices/{folder.rsplit('/', 1)[1]}", folder)
