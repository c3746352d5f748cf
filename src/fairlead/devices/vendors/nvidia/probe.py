"""From NVML and sysfs to facts.

A GPU that fails in the middle (it falls off the bus) is left out with its reason and does not hide the others. What a
model does not have (ECC, NVLink, MIG, NUMA) is an ordinary answer and becomes None or empty.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence

from fairlead.devices.errors import DeviceError, ProbeError
from fairlead.devices.host import Host, PciFunction
from fairlead.devices.vendors.nvidia.facts import (
    Driver,
    Engines,
    Fabric,
    Gpu,
    Gpus,
    MigDevice,
    MigProfile,
    NvLink,
    Placement,
    Remote,
    Skipped,
)
from fairlead.devices.vendors.nvidia.names import (
    ADDRESSING_MODES,
    architecture_name,
    brand_name,
    mig_device_name,
    profile_name,
)
from fairlead.devices.vendors.nvidia.nvml import (
    COMPUTE_PROFILES,
    MAX_LINKS,
    PROFILE_COUNT,
    InstanceProfile,
    MigMode,
    Nvml,
    known,
)

_LOG = logging.getLogger("fairlead.devices.nvidia")
_BUS_ID = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
_NO_CLUSTER = "00000000-0000-0000-0000-000000000000"
_REMOTES: dict[int, Remote] = {0: "gpu", 1: "cpu", 2: "switch"}
_HOPPER = 9


def read_gpus(nvml: Nvml, host: Host) -> Gpus:
    """Every GPU that NVML lists. Raises ProbeError where the driver itself does not answer or two GPUs claim one
    device file."""
    try:
        version, cuda = nvml.driver_version(), nvml.cuda_driver_version()
        count = nvml.device_count()
    except DeviceError as error:
        raise ProbeError(f"NVIDIA driver does not answer: {error}") from error
    gpus: list[Gpu] = []
    skipped: list[Skipped] = []
    for index in range(count):
        try:
            gpus.append(read_gpu(nvml, host, nvml.uuid(index)))
        except DeviceError as error:
            skipped.append(Skipped(f"GPU {index}", str(error)))
    _check_minors(gpus)
    gpus.sort(key=lambda gpu: gpu.minor)
    driver = Driver(version, (cuda // 1000, cuda % 1000 // 10))
    return Gpus(driver=driver, gpus=tuple(gpus), skipped=tuple(skipped))


def read_gpu(nvml: Nvml, host: Host, uuid: str) -> Gpu:
    """One GPU. Raises NvmlError, ProbeError."""
    architecture = nvml.architecture(uuid)
    memory_bytes = known(nvml.memory_bytes, uuid)
    mode = known(nvml.mig_mode, uuid)
    profiles = _read_profiles(nvml, uuid, memory_bytes) if mode is not None else {}
    addressing = known(nvml.addressing_mode, uuid)
    return Gpu(
        index=nvml.index(uuid),
        minor=nvml.minor(uuid),
        uuid=uuid,
        product_name=nvml.name(uuid),
        brand=brand_name(nvml.brand(uuid)),
        architecture=architecture_name(architecture),
        compute_capability=nvml.compute_capability(uuid),
        pci=_read_pci(host, nvml.pci_bus_id(uuid)),
        memory_bytes=memory_bytes,
        mig_enabled=None if mode is None else mode.current == 1,
        can_toggle_mig=mode is not None and architecture >= _HOPPER,
        mig_profiles=tuple(profiles.values()),
        mig_devices=_read_mig_devices(nvml, uuid, profiles, mode),
        nvlinks=tuple(_read_links(nvml, uuid)),
        fabric=_read_fabric(nvml, uuid),
        serial=known(nvml.serial, uuid) or "",
        module_id=known(nvml.module_id, uuid),
        addressing_mode=ADDRESSING_MODES.get(addressing, "") if addressing is not None else "",
    )


def _read_pci(host: Host, bus_id: str) -> PciFunction:
    """NVML writes the domain with eight digits, sysfs with four. Without sysfs (WSL, a closed container) the GPU works
    all the same, and has no place."""
    match = _BUS_ID.fullmatch(bus_id.lower())
    if match is None:
        raise ProbeError(f'NVML: PCI bus id "{bus_id}" is not such as 00000000:3b:00.0')
    domain, bus, device, function = match.groups()
    short = f"{int(domain, 16):04x}:{bus}:{device}.{function}"
    try:
        return host.pci(short)
    except ProbeError as error:
        _LOG.warning("GPU %s: its place on the PCI bus cannot be told: %s", short, error)
        return PciFunction(short, root="", switch=None, vendor="10de", device="", numa_node=None, socket=None)


def _read_profiles(nvml: Nvml, uuid: str, memory_bytes: int | None) -> dict[int, MigProfile]:
    """Profile id -> profile, largest last as NVML counts them; those without a placement cannot be made and are left
    out."""
    profiles: dict[int, MigProfile] = {}
    for number in range(PROFILE_COUNT):
        info = known(nvml.instance_profile, uuid, number)
        if info is None:
            continue
        placements = known(nvml.placements, uuid, info.id)
        if placements:
            spans = tuple(sorted(Placement(span.start, span.size) for span in placements))
            profiles[info.id] = _profile(info, number, memory_bytes, spans)
    return profiles


def _profile(
    info: InstanceProfile, number: int, memory_bytes: int | None, placements: tuple[Placement, ...]
) -> MigProfile:
    return MigProfile(
        id=info.id,
        name=profile_name(info.name, number, info.slice_count, info.memory_mib, memory_bytes),
        compute_slices=info.slice_count,
        memory_mib=info.memory_mib,
        engines=Engines(
            multiprocessors=info.multiprocessors,
            copy_engines=info.copy_engines,
            decoders=info.decoders,
            encoders=info.encoders,
            jpeg_engines=info.jpeg_engines,
            ofa_engines=info.ofa_engines,
        ),
        instances=info.instance_count,
        placements=placements,
    )


def _read_mig_devices(
    nvml: Nvml, uuid: str, profiles: dict[int, MigProfile], mode: MigMode | None
) -> tuple[MigDevice, ...]:
    if mode is None or mode.current != 1:
        return ()
    handles = {(h.gpu_instance, h.compute_instance): h.uuid for h in known(nvml.mig_devices, uuid) or ()}
    devices = []
    for profile in profiles.values():
        for instance in known(nvml.gpu_instances, uuid, profile.id) or ():
            for compute in nvml.compute_instances(uuid, instance.id):
                if (instance.id, compute.id) not in handles:
                    continue
                devices.append(
                    MigDevice(
                        uuid=handles[instance.id, compute.id],
                        gpu_instance=instance.id,
                        compute_instance=compute.id,
                        name=mig_device_name(profile, _compute_slices(nvml, uuid, instance.id, compute.profile_id)),
                        profile=profile,
                        placement=Placement(instance.start, instance.size),
                    )
                )
    return tuple(sorted(devices, key=lambda device: (device.placement, device.compute_instance)))


def _compute_slices(nvml: Nvml, uuid: str, instance: int, profile_id: int) -> int | None:
    """How many slices a compute profile has; None where it is none that is known."""
    for slices, number in COMPUTE_PROFILES.items():
        info = known(nvml.compute_profile, uuid, instance, number)
        if info is not None and info.id == profile_id:
            return slices
    return None


def _read_links(nvml: Nvml, uuid: str) -> Iterator[NvLink]:
    for link in range(MAX_LINKS):
        active = known(nvml.link_active, uuid, link)
        if active is None:
            continue
        kind = known(nvml.link_remote_type, uuid, link) if active else None
        bus_id = known(nvml.link_remote_bus_id, uuid, link) if active else None
        match = _BUS_ID.fullmatch((bus_id or "").lower())
        remote = f"{int(match[1], 16):04x}:{match[2]}:{match[3]}.{match[4]}" if match else ""
        yield NvLink(link, active, _REMOTES.get(kind, "unknown") if kind is not None else "unknown", remote)


def _read_fabric(nvml: Nvml, uuid: str) -> Fabric | None:
    info = known(nvml.fabric, uuid)
    if info is None or info.state == 0:
        return None
    cluster = "" if info.cluster_uuid == _NO_CLUSTER else info.cluster_uuid
    return Fabric(info.state, info.status, cluster, info.clique_id, info.health_mask)


def _check_minors(gpus: Sequence[Gpu]) -> None:
    seen: dict[int, Gpu] = {}
    for gpu in gpus:
        other = seen.setdefault(gpu.minor, gpu)
        if other is not gpu:
            raise ProbeError(
                f"GPUs {other.uuid} and {gpu.uuid} both have minor {gpu.minor}, /dev/nvidia{gpu.minor}: the device "
                f"files are not to be trusted; reload the driver"
            )
