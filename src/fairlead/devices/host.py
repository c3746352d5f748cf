"""A machine's /sys, /proc and /dev below an injectable root, read carefully.

Every vendor reads through this, so that all of them work on a fixture tree of real shape and say alike what is wrong.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from fairlead.devices.errors import ProbeError

_BUS_ID = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_ROOT = re.compile(r"pci[0-9a-f]{4,}:[0-9a-f]{2}")
_LIMIT_BYTES = 1 << 16
_WORD = 1 << 63
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,19}|0[xX][0-9a-fA-F]{1,16})")
_ABSENT = " "
"""What no file's text can be, as it is read without blanks at its ends."""


@dataclass(frozen=True, slots=True)
class PciFunction:
    """One PCI function. `bus_id` is domain:bus:device.function in full; `root` its root complex ("pci0000:00");
    `switch` the bus id of the upstream port of the nearest PCIe switch, None where it hangs off a root port or the
    tree cannot tell; `numa_node` None where the platform names none (-1); `socket` the package of that node's CPUs."""

    bus_id: str
    root: str
    switch: str | None
    vendor: str
    device: str
    numa_node: int | None
    socket: int | None


@dataclass(frozen=True, slots=True)
class PciLink:
    """The PCIe link above a function: lanes and transfer rate (GT/s) now, and the most that both of its ends can do."""

    width: int
    max_width: int
    speed_gts: float
    max_speed_gts: float

    def __str__(self) -> str:
        return f"x{self.width} at {self.speed_gts:g} GT/s of x{self.max_width} at {self.max_speed_gts:g} GT/s"


class Host:
    """A machine, or a tree of its files. Paths are given as on the machine ("/sys/class/net")."""

    def __init__(self, root: Path | str = "/") -> None:
        self.root = Path(root)

    def path(self, path: str) -> Path:
        """Where a path of the machine lies below the root."""
        return self.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        """Whether something is there. What cannot be looked at is: only "no such file" means that a device is gone."""
        try:
            return self.path(path).exists()
        except OSError:
            return True

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty where it is not there."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ProbeError(f"{folder}: cannot be listed: {error.strerror}") from error

    def text(self, path: str, default: str | None = None, *, limit_bytes: int = _LIMIT_BYTES) -> str:
        """A file's text, up to a limit, without blanks at its ends. Absent: `default`, or ProbeError where there is
        none."""
        try:
            with open(self.path(path), "rb") as file:
                raw = file.read(limit_bytes)
        except (FileNotFoundError, NotADirectoryError):
            if default is not None:
                return default
            raise ProbeError(f"{path}: no such file") from None
        except OSError as error:
            raise ProbeError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            return raw.decode().strip()
        except UnicodeDecodeError:
            raise ProbeError(f"{path}: expected text, found bytes that are not UTF-8") from None

    def number(self, path: str, default: int | None = None) -> int:
        """A file that holds one number, decimal or 0x…. An empty (truncated) file raises, absent or not."""
        text = self.text(path, None if default is None else _ABSENT)
        if default is not None and text == _ABSENT:
            return default
        if not _NUMBER.fullmatch(text):
            raise ProbeError(f'{path}: expected a number, found "{text[:40]}"')
        value = int(text, 0)
        if abs(value) >= _WORD:
            raise ProbeError(f"{path}: expected a number of 64 bits, found {text[:40]}")
        return value

    def link(self, path: str) -> str:
        """Where a symbolic link leads, as a path of the machine. Raises ProbeError."""
        try:
            target = self.path(path).resolve(strict=True)
            return "/" + str(target.relative_to(self.root.resolve()))
        except (OSError, RuntimeError) as error:
            raise ProbeError(f"{path}: cannot be followed: {error}") from error
        except ValueError:
            raise ProbeError(f"{path}: leads out of {self.root}") from None

    def target(self, path: str) -> str:
        """What a symbolic link says, as it is written: one step, far cheaper than `link`, and it may lead nowhere.
        Raises ProbeError."""
        try:
            return os.readlink(self.path(path))
        except OSError as error:
            raise ProbeError(f"{path}: cannot be followed: {error.strerror}") from error

    def device_node(self, path: str) -> tuple[str, int, int] | None:
        """Type (c or b), major and minor of a device node; None where there is none. In a fixture tree an ordinary file
        stands for one: its text is `c MAJOR:MINOR`."""
        try:
            found = self.path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ProbeError(f"{path}: cannot be looked at: {error.strerror}") from error
        if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            kind = "c" if stat.S_ISCHR(found.st_mode) else "b"
            return kind, os.major(found.st_rdev), os.minor(found.st_rdev)
        written = (
            re.fullmatch(r"([cb]) (\d{1,7}):(\d{1,7})", self.text(path, "")) if stat.S_ISREG(found.st_mode) else None
        )
        if written is None:
            return None
        return written[1], int(written[2]), int(written[3])

    def pci(self, bus_id: str) -> PciFunction:
        """A PCI function by its bus id. Raises ProbeError."""
        bus_id = bus_id.lower()
        if not _BUS_ID.fullmatch(bus_id):
            raise ProbeError(f'"{bus_id}" is not a PCI bus id such as 0000:3b:00.0')
        link = f"/sys/bus/pci/devices/{bus_id}"
        parts = self.link(link).split("/")
        root = next((part for part in parts if _ROOT.fullmatch(part)), None)
        if root is None:
            raise ProbeError(f"{link}: no PCI root complex on its path {'/'.join(parts)}")
        # Root port, then for each switch its upstream and downstream port, then the function itself.
        chain = [part for part in parts if _BUS_ID.fullmatch(part)]
        numa = self.number(f"{link}/numa_node", -1)
        numa_node = numa if numa >= 0 else None
        return PciFunction(
            bus_id=bus_id,
            root=root,
            switch=chain[-3] if len(chain) >= 4 else None,
            vendor=self.text(f"{link}/vendor", "").removeprefix("0x"),
            device=self.text(f"{link}/device", "").removeprefix("0x"),
            numa_node=numa_node,
            socket=self.socket(numa_node) if numa_node is not None else None,
        )

    def pci_link(self, bus_id: str) -> PciLink | None:
        """The link of a PCI function; None where the kernel tells none (a virtual function, a virtual machine, a link
        that is down). The end above counts too: a card of 16 lanes in a slot of 8 does all it can with 8."""
        path = f"/sys/bus/pci/devices/{bus_id.lower()}"
        width, speed = self._link_values(path, "current")
        max_width, max_speed = self._link_values(path, "max")
        if not width or not speed or not max_width or not max_speed:
            return None
        try:
            above = self.link(path).rsplit("/", 1)[0]
        except ProbeError:
            return None
        above_width, above_speed = self._link_values(above, "max")
        return PciLink(
            width=width,
            max_width=min(max_width, above_width or max_width),
            speed_gts=speed,
            max_speed_gts=min(max_speed, above_speed or max_speed),
        )

    def _link_values(self, path: str, which: str) -> tuple[int, float]:
        """Width and GT/s from files such as "16" and "32.0 GT/s PCIe"; 0 where they tell none ("Unknown", 255)."""
        width = re.fullmatch(r"\d{1,3}", self.text(f"{path}/{which}_link_width", ""))
        speed = re.match(r"(\d{1,4}(?:\.\d{1,3})?) GT/s", self.text(f"{path}/{which}_link_speed", ""))
        lanes = int(width[0]) if width and int(width[0]) <= 32 else 0
        return lanes, float(speed[1]) if speed else 0.0

    def socket(self, numa_node: int) -> int | None:
        """The physical package of a NUMA node's first CPU; None where the tree does not tell."""
        first = re.match(r"\d+", self.text(f"/sys/devices/system/node/node{numa_node}/cpulist", ""))
        if first is None:
            return None
        package = self.number(f"/sys/devices/system/cpu/cpu{first[0]}/topology/physical_package_id", -1)
        return package if package >= 0 else None
