"""From facts about GPUs to devices, under the names of NVIDIA's own DRA driver.

A GPU is a device. So is each MIG device that exists, in place of its GPU; or, where partitions are made on demand, each
profile at each placement beside the GPU. On-demand partitions and their GPU draw on one counter set: a counter for each
memory slice keeps placements apart, counters for engines keep scarce ones (the video engines of "+me" profiles) from
being handed out twice, and the GPU takes everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

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
    RequestPolicy,
    Version,
)
from fairlead.devices.vendors.nvidia.facts import Engines, Gpu, Gpus, MigDevice, MigProfile, Placement, VfioGpu
from fairlead.devices.vendors.nvidia.links import links, nvlink_domains
from fairlead.devices.vendors.nvidia.names import partition_name
from fairlead.kube.quantity import Format, Quantity

_MAX_TEXT_BYTES = 64
_MIB = 1 << 20
_ENGINES: tuple[tuple[str, str, str], ...] = (
    ("multiprocessors", "multiprocessors", "multiprocessors"),
    ("copyEngines", "copy-engines", "copy_engines"),
    ("decoders", "decoders", "decoders"),
    ("encoders", "encoders", "encoders"),
    ("jpegEngines", "jpeg-engines", "jpeg_engines"),
    ("ofaEngines", "ofa-engines", "ofa_engines"),
)
"""Capacity, counter and field of each kind of engine."""

Sharing = Literal["", "memory", "unlimited"]


@dataclass(frozen=True, slots=True)
class Offer:
    """How GPUs are offered. `dynamic_mig`: partitions on demand. `shares`: how many claims may hold a GPU or partition
    at once: "" one, "memory" as many as its memory serves (each says how much, or gets all), "unlimited", or a number
    of shares."""

    dynamic_mig: bool = False
    shares: Sharing | int = ""


ONE_CLAIM = Offer()


@dataclass(frozen=True, slots=True)
class Partition:
    """What can be made of a GPU: an instance of a profile at a placement."""

    gpu: Gpu
    profile: MigProfile
    placement: Placement

    @property
    def name(self) -> str:
        return partition_name(self.gpu, self.profile.name, self.profile, self.placement)


Part = Gpu | MigDevice | Partition
"""What a device of a GPU is: all of it, a MIG device that exists, or one that can be made."""


def build(facts: Gpus, offer: Offer = ONE_CLAIM) -> Inventory:
    """Whole GPUs first, then what is part of one, then those for virtual machines: an allocator takes the first that
    fits. GPUs that are divided already, and those that only a reset would free of MIG, are not offered whole."""
    domains = nvlink_domains(facts.gpus)
    devices: list[Device] = []
    pieces: list[Device] = []
    counters: dict[str, Mapping[str, str]] = {}
    for gpu in facts.gpus:
        if divides(gpu, offer):
            counters[counter_set(gpu)] = _totals(gpu)
        if is_offered_whole(gpu, offer):
            devices.append(_gpu_device(facts, gpu, domains.get(gpu.uuid, ""), offer))
        if divides(gpu, offer):
            pieces += [_partition_device(facts, partition, offer) for partition in partitions(gpu)]
        else:
            pieces += [_mig_device(facts, gpu, mig, offer) for mig in gpu.mig_devices]
    devices += pieces
    devices += [_vfio_device(vfio) for vfio in facts.vfio]
    offered = {device.name for device in devices}
    return Inventory(tuple(devices), counters, tuple(link for link in links(facts.gpus) if {link.a, link.b} <= offered))


def divides(gpu: Gpu, offer: Offer) -> bool:
    """Whether partitions of the GPU are made on demand."""
    return offer.dynamic_mig and bool(gpu.mig_profiles) and (gpu.can_toggle_mig or bool(gpu.mig_enabled))


def is_offered_whole(gpu: Gpu, offer: Offer) -> bool:
    return not gpu.mig_enabled or (divides(gpu, offer) and gpu.can_toggle_mig)


def partitions(gpu: Gpu) -> Iterator[Partition]:
    """Every profile at every placement, in the order of NVML's profiles."""
    for profile in gpu.mig_profiles:
        for placement in profile.placements:
            yield Partition(gpu, profile, placement)


def parts(gpu: Gpu, offer: Offer) -> list[tuple[str, Part]]:
    """Every device of a GPU by name, the GPU first where it is offered whole."""
    found: list[tuple[str, Part]] = [(gpu.name, gpu)] if is_offered_whole(gpu, offer) else []
    if divides(gpu, offer):
        return found + [(partition.name, partition) for partition in partitions(gpu)]
    return found + [(static_name(gpu, device), device) for device in gpu.mig_devices]


def static_name(gpu: Gpu, mig: MigDevice) -> str:
    """As upstream; several compute instances of one GPU instance are told apart by their numbers."""
    name = partition_name(gpu, mig.name, mig.profile, mig.placement)
    siblings = sum(other.gpu_instance == mig.gpu_instance for other in gpu.mig_devices)
    return name if siblings == 1 else f"{name}-c{mig.compute_instance}"


def vfio_name(vfio: VfioGpu) -> str:
    return f"gpu-vfio-{vfio.index}"


def counter_set(gpu: Gpu) -> str:
    return f"{gpu.name}-counter-set"


def _gpu_device(facts: Gpus, gpu: Gpu, domain: str, offer: Offer) -> Device:
    fabric = gpu.fabric
    own: dict[str, Attribute | None] = {
        "type": "gpu",
        "uuid": gpu.uuid,
        "index": gpu.index,
        "minor": gpu.minor,
        "gpuModuleID": gpu.module_id,
        "nvlinkDomain": domain,
        "clusterUUID": fabric.cluster_uuid if fabric else None,
        "cliqueID": fabric.clique_id if fabric and fabric.cluster_uuid else None,
        "pcieSwitch": gpu.pci.switch,
        "socket": gpu.pci.socket,
    }
    capacity: dict[str, Capacity] = {}
    if gpu.memory_bytes is not None:
        capacity["memory"] = Capacity(_bytes(gpu.memory_bytes))
    if divides(gpu, offer):
        totals = _totals(gpu)
        capacity |= {name: Capacity(totals[counter]) for name, counter, _ in _ENGINES}
    device = Device(
        name=gpu.name,
        attributes=_told(own | _common(facts, gpu)),
        capacity=capacity,
        consumes={counter_set(gpu): _totals(gpu)} if divides(gpu, offer) else {},
    )
    return _shared(device, offer)


def _partition_device(facts: Gpus, partition: Partition, offer: Offer) -> Device:
    gpu, profile, placement = partition.gpu, partition.profile, partition.placement
    own: dict[str, Attribute | None] = {
        "type": "mig",
        "profile": profile.name,
        "placementStart": placement.start,
        "placementSize": placement.size,
    }
    used = {counter: str(getattr(profile.engines, field)) for _, counter, field in _ENGINES}
    used["memory"] = _bytes(profile.memory_mib * _MIB)
    used |= {_slice_counter(number): "1" for number in placement.slices}
    device = Device(
        name=partition.name,
        attributes=_told(own | _parent(gpu) | _common(facts, gpu)),
        capacity=_engine_capacity(profile),
        consumes={counter_set(gpu): used},
        parent=gpu.name,
    )
    return _shared(device, offer)


def _mig_device(facts: Gpus, gpu: Gpu, mig: MigDevice, offer: Offer) -> Device:
    own: dict[str, Attribute | None] = {"type": "mig", "uuid": mig.uuid, "profile": mig.name}
    slices = {f"memorySlice{number}": Capacity("1") for number in mig.placement.slices}
    device = Device(
        name=static_name(gpu, mig),
        attributes=_told(own | _parent(gpu) | _common(facts, gpu)),
        capacity=_engine_capacity(mig.profile) | slices,
        parent=gpu.name,
    )
    return _shared(device, offer)


def _vfio_device(vfio: VfioGpu) -> Device:
    own: dict[str, Attribute | None] = {
        "type": "vfio",
        "vendorID": vfio.pci.vendor,
        "deviceID": vfio.pci.device,
        "productName": vfio.product_name,
        "iommuGroup": vfio.iommu_group,
        "iommuFDEnabled": bool(vfio.character_device),
        "pcieSwitch": vfio.pci.switch,
        "socket": vfio.pci.socket,
        PCI_BUS_ID: vfio.pci.bus_id,
        PCIE_ROOT: vfio.pci.root,
        NUMA_NODE: vfio.pci.numa_node,
        PCIE_SWITCH: vfio.pci.switch,
        SOCKET: vfio.pci.socket,
    }
    memory = vfio.addressable_memory_bytes
    return Device(
        name=vfio_name(vfio),
        attributes=_told(own),
        capacity={"addressableMemory": Capacity(_bytes(memory))} if memory else {},
    )


def _common(facts: Gpus, gpu: Gpu) -> dict[str, Attribute | None]:
    """What a GPU and its parts have alike."""
    driver = facts.driver
    return {
        "productName": gpu.product_name,
        "brand": gpu.brand,
        "architecture": gpu.architecture,
        "cudaComputeCapability": _version(gpu.compute_capability),
        "driverVersion": _version(driver.version.split(".")) if driver else None,
        "cudaDriverVersion": _version(driver.cuda) if driver else None,
        "addressingMode": gpu.addressing_mode,
        PCI_BUS_ID: gpu.pci.bus_id,
        PCIE_ROOT: gpu.pci.root,
        NUMA_NODE: gpu.pci.numa_node,
        PCIE_SWITCH: gpu.pci.switch,
        SOCKET: gpu.pci.socket,
    }


def _parent(gpu: Gpu) -> dict[str, Attribute | None]:
    return {"parentUUID": gpu.uuid, "parentIndex": gpu.index}


def _totals(gpu: Gpu) -> dict[str, str]:
    """The counters of a GPU. Of each engine there are as many as the richest profile has, or as the most instances of
    one profile have together: some models' profiles share engines, and NVML says how many instances fit."""
    profiles = gpu.mig_profiles
    totals = {counter: str(max(_together(profile, field) for profile in profiles)) for _, counter, field in _ENGINES}
    memory = max(profile.memory_mib * max(1, profile.instances) for profile in profiles)
    slices = max(placement.start + placement.size for profile in profiles for placement in profile.placements)
    return totals | {"memory": _bytes(memory * _MIB)} | {_slice_counter(number): "1" for number in range(slices)}


def _together(profile: MigProfile, field: str) -> int:
    return int(getattr(profile.engines, field)) * max(1, profile.instances)


def _engine_capacity(profile: MigProfile) -> dict[str, Capacity]:
    engines: Engines = profile.engines
    capacity = {name: Capacity(str(getattr(engines, field))) for name, _, field in _ENGINES}
    return capacity | {"memory": Capacity(_bytes(profile.memory_mib * _MIB))}


def _shared(device: Device, offer: Offer) -> Device:
    """The device as several claims may hold it (the reference driver's consumable shares): memory by the MiB, and a
    number of shares where one was set. Where nobody must ask for memory, asking for none is allowed."""
    memory = device.capacity.get("memory")
    if offer.shares == "" or memory is None:
        return device
    most = str(Quantity(Quantity.parse(memory.value).value // _MIB * _MIB, Format.BINARY_SI))
    least, default = ("1Mi", most) if offer.shares == "memory" else ("0", "0")
    capacity = dict(device.capacity)
    capacity["memory"] = Capacity(most, RequestPolicy(default=default, min=least, max=most, step="1Mi"))
    if isinstance(offer.shares, int):
        number = str(offer.shares)
        capacity["shares"] = Capacity(number, RequestPolicy(default="1", min="1", max=number, step="1"))
    return Device(
        name=device.name,
        attributes=device.attributes,
        capacity=capacity,
        consumes=device.consumes,
        shareable=True,
        parent=device.parent,
    )


def _slice_counter(number: int) -> str:
    return f"memory-slice-{number}"


def _version(written: Iterable[int | str]) -> Version | None:
    """ "550.90.07" as semver: three numbers without leading zeroes; None where it is none."""
    numbers = [str(part) for part in written]
    if not all(number.isdigit() for number in numbers) or not 1 <= len(numbers) <= 3:
        return None
    return Version(".".join(str(int(number)) for number in [*numbers, "0", "0"][:3]))


def _bytes(amount: int) -> str:
    return str(Quantity(amount, Format.BINARY_SI))


def _told(values: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name: value for name, value in values.items() if value is not None and _fits(value)}


def _fits(value: Attribute) -> bool:
    """The API takes no empty text and none over its limit."""
    return not isinstance(value, str) or 0 < len(value.encode()) <= _MAX_TEXT_BYTES
