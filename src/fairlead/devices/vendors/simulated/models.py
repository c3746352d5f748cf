"""The models that a fleet can have, with the numbers that their makers and drivers give them.

Sources: PCI ids from the PCI ID database; memory of NVIDIA models as `nvidia-smi` totals it (MiB); compute units of AMD
models from their data sheets (four SIMD units each). RNGD and TPU numbers are their vendors' packages'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fairlead.devices.vendors.network.facts import LinkLayer
from fairlead.devices.vendors.tpu.facts import TPU7X, V4, V5E, V5P, V6E, Generation

_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """`title` is the product's name as its driver reports it; `fields` are those of a fleet's `devices` entry that the
    model knows beside model, count and at."""

    maker: ClassVar[str] = ""
    fields: ClassVar[frozenset[str]] = frozenset()
    name: str
    title: str
    pci_vendor: str
    pci_device: str


@dataclass(frozen=True, slots=True)
class NvidiaModel(Model):
    """`nvlinks`: links to switches through which every GPU of a node reaches every other, none for a plain card. `mig`:
    the gigabytes in the names of partitions of one, two, four and eight memory slices, empty where there are none."""

    maker: ClassVar[str] = "NVIDIA"
    fields: ClassVar[frozenset[str]] = frozenset({"driver_version", "mig", "shares", "fabric"})
    architecture: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    brand: str = "Nvidia"
    nvlinks: int = 0
    mig: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AmdModel(Model):
    """`xgmi`: every GPU of a node is joined with every other over Infinity Fabric."""

    maker: ClassVar[str] = "AMD"
    fields: ClassVar[frozenset[str]] = frozenset({"driver_version"})
    memory_bytes: int
    compute_units: int
    xgmi: bool = True


@dataclass(frozen=True, slots=True)
class RngdModel(Model):
    maker: ClassVar[str] = "Furiosa"
    fields: ClassVar[frozenset[str]] = frozenset({"driver_version", "firmware", "partitions"})


@dataclass(frozen=True, slots=True)
class TpuModel(Model):
    """`accelerator` as GKE labels nodes of it. `is_vfio`: whether chips show as VFIO groups."""

    maker: ClassVar[str] = "Google"
    fields: ClassVar[frozenset[str]] = frozenset({"slice", "partitions"})
    generation: Generation
    accelerator: str
    is_vfio: bool = True


@dataclass(frozen=True, slots=True)
class NicModel(Model):
    """A network adapter with RDMA. `rate_gbps` of its one port."""

    maker: ClassVar[str] = "network"
    fields: ClassVar[frozenset[str]] = frozenset({"firmware"})
    rate_gbps: int
    link_layer: LinkLayer
    kernel_driver: str = "mlx5_core"


_ALL: tuple[Model, ...] = (
    NvidiaModel("a100-sxm-80gb", "NVIDIA A100-SXM4-80GB", "10de", "20b2", "Ampere", (8, 0), 81_920 * _MIB,
                nvlinks=12, mig=(10, 20, 40, 80)),
    NvidiaModel("h100-sxm-80gb", "NVIDIA H100 80GB HBM3", "10de", "2330", "Hopper", (9, 0), 81_559 * _MIB,
                nvlinks=18, mig=(10, 20, 40, 80)),
    NvidiaModel("h200-sxm-141gb", "NVIDIA H200", "10de", "2335", "Hopper", (9, 0), 143_771 * _MIB,
                nvlinks=18, mig=(18, 35, 71, 141)),
    NvidiaModel("b200-sxm-180gb", "NVIDIA B200", "10de", "2901", "Blackwell", (10, 0), 183_359 * _MIB,
                nvlinks=18, mig=(23, 45, 90, 180)),
    NvidiaModel("gb200", "NVIDIA GB200", "10de", "2941", "Blackwell", (10, 0), 189_471 * _MIB,
                nvlinks=18, mig=(23, 47, 93, 186)),
    NvidiaModel("l40s", "NVIDIA L40S", "10de", "26b9", "Ada Lovelace", (8, 9), 46_068 * _MIB),
    NvidiaModel("l4", "NVIDIA L4", "10de", "27b8", "Ada Lovelace", (8, 9), 23_034 * _MIB),
    AmdModel("mi300x", "AMD Instinct MI300X OAM", "1002", "74a1", 192 * _GIB, 304),
    AmdModel("mi325x", "AMD Instinct MI325X OAM", "1002", "74a5", 256 * _GIB, 304),
    AmdModel("mi355x", "AMD Instinct MI355X OAM", "1002", "75a3", 288 * _GIB, 256),
    RngdModel("rngd", "rngd", "1ed2", "0001"),
    RngdModel("rngd-s", "rngd-s", "1ed2", "0001"),
    RngdModel("rngd-max", "rngd-max", "1ed2", "0001"),
    TpuModel("tpu-v4", "TPU v4", "1ae0", "005e", V4, "tpu-v4-podslice", is_vfio=False),
    TpuModel("tpu-v5e", "TPU v5e", "1ae0", "0063", V5E, "tpu-v5-lite-podslice"),
    TpuModel("tpu-v5p", "TPU v5p", "1ae0", "0062", V5P, "tpu-v5p-slice"),
    TpuModel("tpu-v6e", "TPU v6e", "1ae0", "006f", V6E, "tpu-v6e-slice"),
    TpuModel("tpu-7x", "TPU7x", "1ae0", "0076", TPU7X, "tpu7x"),
    NicModel("connectx-6-dx", "ConnectX-6 Dx", "15b3", "101d", 100, "ethernet"),
    NicModel("connectx-7", "ConnectX-7", "15b3", "1021", 400, "infiniband"),
    NicModel("connectx-7-roce", "ConnectX-7", "15b3", "1021", 400, "ethernet"),
    NicModel("bluefield-3", "BlueField-3", "15b3", "a2dc", 400, "ethernet"),
)  # fmt: skip

MODELS: Mapping[str, Model] = {model.name: model for model in _ALL}
