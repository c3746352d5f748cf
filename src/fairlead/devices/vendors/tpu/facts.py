"""What was read of a host's TPU chips and of the slice that the host is part of.

A slice is a box of chips joined by their own links; each of its hosts (workers) has a smaller box of them. Chips show
as /dev/accelN up to v4 and as VFIO groups (/dev/vfio/N) after it. Sources: JAX's hardware_utils and tpu-info (PCI ids),
kubernetes-sigs/dra-driver-google-tpu (names and environment), Cloud TPU documentation (shapes, memory).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from fairlead.devices.host import PciFunction

VENDOR = "1ae0"
Shape = tuple[int, int, int]
"""Chips or hosts along x, y and z."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One kind of chip. `name` as upstream's driver publishes it (tpuGen). `cores` are TensorCores a chip, which is how
    accelerator types count ("v4-8" has four chips). `axes`: the slice's dimensions. `divisible`: whether libtpu runs on
    fewer chips than the host has, by published recipes."""

    name: str
    cores: int
    memory_bytes: int
    axes: Literal[2, 3]
    divisible: bool = True


V2 = Generation("v2", 2, 16 << 30, 2)
V3 = Generation("v3", 2, 32 << 30, 2)
V4 = Generation("v4", 2, 32 << 30, 3)
V5E = Generation("v5litepod", 1, 16 << 30, 2)
V5P = Generation("v5p", 2, 95 << 30, 3)
V6E = Generation("v6e", 1, 32 << 30, 2)
TPU7X = Generation("tpu7x", 2, 192 << 30, 3, divisible=False)
GENERATIONS = (V2, V3, V4, V5E, V5P, V6E, TPU7X)

HOST_BOUNDS: dict[int, Shape] = {1: (1, 1, 1), 2: (1, 2, 1), 4: (2, 2, 1), 8: (2, 4, 1)}
"""Chips that one process can hold -> the box they make; there are no others. Chips of a box are neighbours in number
and begin at a multiple of their count."""


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip. `index`: its place among the host's chips in the order of their bus ids, which is how libtpu counts.
    `node` is its device file ("/dev/accel0", "/dev/vfio/12"); `more_nodes` those of its further PCI functions."""

    index: int
    node: str
    pci: PciFunction
    more_nodes: tuple[str, ...] = ()

    @property
    def is_vfio(self) -> bool:
        return self.node.startswith("/dev/vfio/")

    @property
    def name(self) -> str:
        """The device's name, by its file, so that it stays when another chip drops: "accel0", "vfio12"."""
        return self.node.removeprefix("/dev/").replace("/", "")


@dataclass(frozen=True, slots=True)
class Slice:
    """The slice that a host is part of, as far as the platform tells. None means: not told.

    `accelerator_type` as Cloud TPU counts ("v5litepod-16"), `accelerator` as node labels name it
    ("tpu-v5-lite-podslice"). `topology` are chips of the slice, `worker` the host's number in it. `worker_hostnames`:
    every host of the slice in the order of their numbers.
    """

    accelerator_type: str | None = None
    accelerator: str | None = None
    topology: Shape | None = None
    chips_per_host: Shape | None = None
    worker: int | None = None
    worker_hostnames: tuple[str, ...] = ()

    @property
    def chips(self) -> int | None:
        return None if self.topology is None else prod(self.topology)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A chip (by bus id) that was seen and could not be described, or a value that makes no sense, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class TpuHost:
    """The chips of one host, all of one generation (None where there are none), in order. `skipped` are chips,
    `unclear` values of the platform that are not believed."""

    generation: Generation | None = None
    chips: tuple[Chip, ...] = ()
    slice: Slice = Slice()
    skipped: tuple[Skipped, ...] = ()
    unclear: tuple[Skipped, ...] = ()
