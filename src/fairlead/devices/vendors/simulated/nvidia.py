"""NVIDIA GPUs that are not there: facts as NVML would tell them, of boards with NVSwitch, racks and plain PCIe cards.

Partitions follow NVIDIA's MIG user guide: seven compute slices over eight memory slices, and for each profile where it
may lie. Ampere's and Hopper's engines are those that `nvidia-smi mig -lgip` lists on an A100 and an H100 of 80 GB. Of
Blackwell's, those of profiles up to two slices are from such lists of a B200 (NVIDIA/mig-parted), copy engines from the
guide, and the multiprocessors, decoders and JPEG engines of larger ones are what the smaller ones' add up to: no list
of them was found. GB200 is taken to be as B200, whose 1g.45gb and 2g.45gb have two multiprocessors less each. A
profile's memory is its memory slices' share less what the firmware keeps, rounded down to 128 MiB: that is within 1 GiB
of the lists for A100, H100, B200 and GB200, and 1.3 and 2.6 GiB more than an H200's 1g.18gb and 1g.35gb; it differs
between driver versions, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from fairlead.devices.host import PciFunction
from fairlead.devices.vendors.nvidia import facts
from fairlead.devices.vendors.simulated.fleet import Domain, Placed
from fairlead.devices.vendors.simulated.identity import Identity
from fairlead.devices.vendors.simulated.layout import Seat
from fairlead.devices.vendors.simulated.models import NvidiaModel

DRIVER_VERSION = "580.95.05"
CUDA = (13, 0)
_MEMORY_SLICES = 8
_KEPT_MIB = 210
_GRAIN_MIB = 128
_NUMBERED_FROM_ZERO = 1


@dataclass(frozen=True, slots=True)
class _Size:
    """One profile whatever the model: its id, compute slices, memory slices and where it may begin. `media` is the one
    with the engines that are there once."""

    id: int
    compute: int
    memory: int
    starts: tuple[int, ...]
    media: bool = False


_SIZES = (
    _Size(19, 1, 1, (0, 1, 2, 3, 4, 5, 6)),
    _Size(20, 1, 1, (0, 1, 2, 3, 4, 5, 6), media=True),
    _Size(15, 1, 2, (0, 2, 4, 6)),
    _Size(14, 2, 2, (0, 2, 4)),
    _Size(9, 3, 4, (0, 4)),
    _Size(5, 4, 4, (0,)),
    _Size(0, 7, 8, (0,)),
)
_ENGINES = {
    # Multiprocessors, copy engines, decoders, JPEG engines, OFA engines.
    "Ampere": {
        19: (14, 1, 0, 0, 0),
        20: (14, 1, 1, 1, 1),
        15: (14, 1, 1, 0, 0),
        14: (28, 2, 1, 0, 0),
        9: (42, 3, 2, 0, 0),
        5: (56, 4, 2, 0, 0),
        0: (98, 7, 5, 1, 1),
    },
    "Hopper": {
        19: (16, 1, 1, 1, 0),
        20: (16, 1, 1, 1, 1),
        15: (26, 1, 1, 1, 0),
        14: (32, 2, 2, 2, 0),
        9: (60, 3, 3, 3, 0),
        5: (64, 4, 4, 4, 0),
        0: (132, 8, 7, 7, 1),
    },
    "Blackwell": {
        19: (18, 2, 1, 1, 0),
        20: (18, 2, 1, 1, 1),
        15: (30, 2, 1, 1, 0),
        14: (36, 4, 2, 2, 0),
        9: (70, 6, 3, 3, 0),
        5: (72, 8, 4, 4, 0),
        0: (148, 16, 7, 7, 1),
    },
}
"""Architecture -> profile -> what it computes with."""


def gpus(placed: Sequence[Placed], identity: Identity) -> facts.Gpus:
    """The GPUs of one node."""
    made: list[facts.Gpu] = []
    version = DRIVER_VERSION
    for entry in placed:
        version = entry.given.driver_version or version
        for seat in entry.seats:
            made.append(_gpu(entry, seat, len(made), identity))
    return facts.Gpus(driver=facts.Driver(version, CUDA), gpus=tuple(made))


def _gpu(entry: Placed, seat: Seat, number: int, identity: Identity) -> facts.Gpu:
    model = entry.model
    assert isinstance(model, NvidiaModel)
    can_toggle = bool(model.mig) and model.compute_capability >= (9, 0)
    links = tuple(facts.NvLink(link, active=True, remote="switch") for link in range(model.nvlinks))
    return facts.Gpu(
        index=number,
        minor=number,
        uuid=f"GPU-{identity.uuid('gpu', number)}",
        product_name=model.title,
        brand=model.brand,
        architecture=model.architecture,
        compute_capability=model.compute_capability,
        pci=PciFunction(
            bus_id=seat.bus_id,
            root=seat.root,
            switch=seat.switch,
            vendor=model.pci_vendor,
            device=model.pci_device,
            numa_node=seat.numa_node,
            socket=seat.socket,
        ),
        memory_bytes=model.memory_bytes,
        # Older models must be in MIG mode to be divided, and are not offered whole then.
        mig_enabled=bool(entry.given.mig) and not can_toggle if model.mig else None,
        can_toggle_mig=can_toggle,
        mig_profiles=mig_profiles(model) if model.mig else (),
        nvlinks=links,
        fabric=_fabric(model, entry.domain),
        serial=identity.serial("gpu", number),
        module_id=number + _NUMBERED_FROM_ZERO if model.nvlinks else None,
    )


def _fabric(model: NvidiaModel, domain: Domain | None) -> facts.Fabric | None:
    """Boards with NVSwitch register with the fabric manager from Hopper on; only racks tell of a cluster."""
    if not model.nvlinks or model.compute_capability < (9, 0):
        return None
    if domain is None:
        return facts.Fabric(facts.FABRIC_COMPLETED)
    return facts.Fabric(facts.FABRIC_COMPLETED, cluster_uuid=domain.uuid, clique_id=domain.clique)


@cache
def mig_profiles(model: NvidiaModel) -> tuple[facts.MigProfile, ...]:
    """The sizes that the model can be divided into."""
    total_mib = model.memory_bytes >> 20
    gigabytes_of = dict(zip((1, 2, 4, _MEMORY_SLICES), model.mig, strict=True))
    profiles = []
    for size in _SIZES:
        memory_mib = (total_mib * size.memory // _MEMORY_SLICES - _KEPT_MIB) // _GRAIN_MIB * _GRAIN_MIB
        profiles.append(
            facts.MigProfile(
                id=size.id,
                name=f"{size.compute}g.{gigabytes_of[size.memory]}gb{'+me' if size.media else ''}",
                compute_slices=size.compute,
                memory_mib=memory_mib,
                engines=_engines(model, size),
                instances=1 if size.media else len(size.starts),
                placements=tuple(facts.Placement(start, size.memory) for start in size.starts),
            )
        )
    return tuple(profiles)


def _engines(model: NvidiaModel, size: _Size) -> facts.Engines:
    multiprocessors, copy_engines, decoders, jpeg_engines, ofa_engines = _ENGINES[model.architecture][size.id]
    return facts.Engines(
        multiprocessors=multiprocessors,
        copy_engines=copy_engines,
        decoders=decoders,
        jpeg_engines=jpeg_engines,
        ofa_engines=ofa_engines,
    )
