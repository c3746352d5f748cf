"""What was read of a node's NVIDIA GPUs.

A GPU that can be partitioned (MIG) is divided along its memory into slices, 8 on data-centre models; a profile takes
some compute slices and engines, and its placements say over which memory slices an instance of it may lie. Names and
units are NVML's (memory of a profile in MiB). Sources: nvml.h; NVIDIA's MIG user guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead.devices.host import PciFunction

Remote = Literal["gpu", "switch", "cpu", "unknown"]


@dataclass(frozen=True, slots=True, order=True)
class Placement:
    """The memory slices that an instance lies over: `start` up to and without `start + size`."""

    start: int
    size: int

    @property
    def slices(self) -> range:
        return range(self.start, self.start + self.size)

    def overlaps(self, other: Placement) -> bool:
        return self.start < other.start + other.size and other.start < self.start + self.size


@dataclass(frozen=True, slots=True)
class Engines:
    """What a GPU, or a partition of one, computes with."""

    multiprocessors: int
    copy_engines: int = 0
    decoders: int = 0
    encoders: int = 0
    jpeg_engines: int = 0
    ofa_engines: int = 0


@dataclass(frozen=True, slots=True)
class MigProfile:
    """A size of GPU instance. `id` as `nvidia-smi mig -lgip` lists it and as an instance is created by; `name` is such
    as "1g.10gb" or "1g.10gb+me"; `instances` is how many of it a GPU holds at most."""

    id: int
    name: str
    compute_slices: int
    memory_mib: int
    engines: Engines
    instances: int
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A GPU instance with a compute instance in it, as it exists now. `profile` is the GPU instance's; `name` the
    whole's: "1g.10gb", or "1c.2g.20gb" where the compute instance has a part of the GPU instance only."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    name: str
    profile: MigProfile
    placement: Placement


@dataclass(frozen=True, slots=True)
class NvLink:
    """One NVLink of a GPU and what is at its other end; `remote_bus_id` is empty where the driver hides it (a switch in
    a virtual machine). `active` is whether it is up."""

    link: int
    active: bool
    remote: Remote = "unknown"
    remote_bus_id: str = ""


FABRIC_NOT_SUPPORTED, FABRIC_NOT_STARTED, FABRIC_IN_PROGRESS, FABRIC_COMPLETED = 0, 1, 2, 3
"""nvmlGpuFabricState_t: how far the fabric manager is with a GPU's registration."""


@dataclass(frozen=True, slots=True)
class Fabric:
    """A GPU's place in an NVLink fabric. GPUs with the same cluster UUID and clique reach one another over NVLink,
    across nodes too. `cluster_uuid` is empty on a single node's fabric (an HGX board). `state` is one of FABRIC_…;
    `status` the NVML code that a completed registration ended with (0 is success); `health_mask` is NVML's, 0 where it
    has none."""

    state: int
    status: int = 0
    cluster_uuid: str = ""
    clique_id: int = 0
    health_mask: int = 0

    @property
    def is_ready(self) -> bool:
        return self.state == FABRIC_COMPLETED and self.status == 0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU. `minor` is the N of /dev/nvidiaN, by which the device is named; `index` is NVML's, which
    changes when a GPU drops. What a model does not have or tell is None or empty.

    `mig_enabled` is None where the model knows no MIG. `numa` and bridges are in `pci`. `can_toggle_mig`: MIG mode
    changes without a reset (Hopper and later), so that a partition can be made on demand.
    """

    index: int
    minor: int
    uuid: str
    product_name: str
    brand: str
    architecture: str
    compute_capability: tuple[int, int]
    pci: PciFunction
    memory_bytes: int | None = None
    mig_enabled: bool | None = None
    can_toggle_mig: bool = False
    mig_profiles: tuple[MigProfile, ...] = ()
    mig_devices: tuple[MigDevice, ...] = ()
    nvlinks: tuple[NvLink, ...] = ()
    fabric: Fabric | None = None
    serial: str = ""
    module_id: int | None = None
    addressing_mode: str = ""

    @property
    def name(self) -> str:
        return f"gpu-{self.minor}"


@dataclass(frozen=True, slots=True)
class Driver:
    """Versions of what is installed: the driver's text ("550.90.07") and the newest CUDA that it serves."""

    version: str
    cuda: tuple[int, int]


@dataclass(frozen=True, slots=True)
class VfioGpu:
    """A GPU that is bound to vfio-pci, to be handed to a virtual machine. `index` counts the node's NVIDIA functions in
    the order of their bus ids; `iommu_group` is the N of /dev/vfio/N; `character_device` its name below
    /dev/vfio/devices, empty where the kernel has none (before IOMMUFD)."""

    index: int
    pci: PciFunction
    iommu_group: int
    product_name: str = ""
    character_device: str = ""
    addressable_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A GPU that was seen and could not be described, and why: it may have fallen off the bus."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gpus:
    """Every GPU of a node, in the order of their minors. `driver` is None where no NVIDIA driver is installed."""

    driver: Driver | None = None
    gpus: tuple[Gpu, ...] = ()
    vfio: tuple[VfioGpu, ...] = ()
    skipped: tuple[Skipped, ...] = ()
