"""MIG instances made and unmade on demand, found again by where they lie.

An instance is known by its GPU, profile and placement, never by NVML's ids, which are given out anew. Every step looks
before it acts, so a call that was cut short (the process was killed between the GPU instance and its compute instance)
is finished by the next one, and one that is repeated changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.devices.errors import ClaimError
from fairlead.devices.vendors.nvidia.facts import Gpu, Placement
from fairlead.devices.vendors.nvidia.inventory import Partition
from fairlead.devices.vendors.nvidia.nvml import COMPUTE_PROFILES, Code, GpuInstance, Nvml, NvmlError, known

_LOG = logging.getLogger("fairlead.devices.nvidia")


@dataclass(frozen=True, slots=True)
class Instance:
    """A partition that exists."""

    uuid: str
    gpu_instance: int
    compute_instance: int


def create(nvml: Nvml, partition: Partition) -> Instance:
    """Make the partition, or find it made. Raises ClaimError where the GPU is in use or something lies in the way."""
    gpu, profile, placement = partition.gpu, partition.profile, partition.placement
    enable_mig(nvml, gpu)
    found = _find(nvml, partition)
    if found is None:
        try:
            found = nvml.create_gpu_instance(gpu.uuid, profile.id, placement.start, placement.size)
        except NvmlError as error:
            raise ClaimError(f"{partition.name}: {_why(nvml, partition, error)}") from error
    computes = nvml.compute_instances(gpu.uuid, found.id)
    if not computes:
        number = COMPUTE_PROFILES.get(profile.compute_slices)
        if number is None:
            raise ClaimError(f"{partition.name}: {profile.compute_slices} compute slices are unknown here", retry=False)
        compute_profile = nvml.compute_profile(gpu.uuid, found.id, number)
        computes = [nvml.create_compute_instance(gpu.uuid, found.id, compute_profile.id)]
    return Instance(computes[0].uuid, found.id, computes[0].id)


def destroy(nvml: Nvml, partition: Partition) -> None:
    """Unmake the partition, if it is there, and leave MIG mode when it was the last and that needs no reset. Raises
    ClaimError where a process still uses it."""
    gpu = partition.gpu
    mode = known(nvml.mig_mode, gpu.uuid)
    if mode is None or mode.current != 1:
        return
    found = _find(nvml, partition)
    if found is not None:
        try:
            for compute in nvml.compute_instances(gpu.uuid, found.id):
                nvml.destroy_compute_instance(gpu.uuid, found.id, compute.id)
            nvml.destroy_gpu_instance(gpu.uuid, found.id)
        except NvmlError as error:
            if error.code == Code.IN_USE:
                raise ClaimError(f"{partition.name}: a process still uses it; see nvidia-smi") from error
            raise
    leave_mig(nvml, gpu)


def enable_mig(nvml: Nvml, gpu: Gpu) -> None:
    """Raises ClaimError where the GPU is busy or only a reset would do."""
    if nvml.mig_mode(gpu.uuid).current == 1:
        return
    try:
        status = nvml.set_mig_mode(gpu.uuid, True)
    except NvmlError as error:
        raise ClaimError(f"{gpu.name}: MIG mode cannot be switched on: {error}") from error
    if nvml.mig_mode(gpu.uuid).current != 1:
        raise ClaimError(
            f"{gpu.name}: MIG mode is not on yet ({status.name}); it waits for processes that use the GPU to end, or "
            f"for a reset (nvidia-smi --gpu-reset)"
        )


def leave_mig(nvml: Nvml, gpu: Gpu) -> bool:
    """Switch MIG mode off where nothing is left in it and the model needs no reset for that; whether it is off now. A
    refusal is no error: the GPU stays ready for partitions."""
    if nvml.mig_mode(gpu.uuid).current != 1:
        return True
    if not gpu.can_toggle_mig or existing(nvml, gpu):
        return False
    try:
        nvml.set_mig_mode(gpu.uuid, False)
    except NvmlError as error:
        _LOG.warning("%s: MIG mode stays on: %s", gpu.name, error)
    return nvml.mig_mode(gpu.uuid).current != 1


def existing(nvml: Nvml, gpu: Gpu) -> Sequence[GpuInstance]:
    """Every GPU instance that is there, whoever made it."""
    return [
        instance for profile in gpu.mig_profiles for instance in known(nvml.gpu_instances, gpu.uuid, profile.id) or ()
    ]


def matches(partition: Partition, instance: GpuInstance) -> bool:
    place = Placement(instance.start, instance.size)
    return instance.profile_id == partition.profile.id and place == partition.placement


def overlaps(partition: Partition, instance: GpuInstance) -> bool:
    return partition.placement.overlaps(Placement(instance.start, instance.size))


def _find(nvml: Nvml, partition: Partition) -> GpuInstance | None:
    instances = known(nvml.gpu_instances, partition.gpu.uuid, partition.profile.id) or ()
    return next((instance for instance in instances if matches(partition, instance)), None)


def _why(nvml: Nvml, partition: Partition, error: NvmlError) -> str:
    """NVML says INSUFFICIENT_RESOURCES whether the place is taken or the profile's number is used up."""
    in_way = [instance for instance in existing(nvml, partition.gpu) if overlaps(partition, instance)]
    if not in_way:
        return f"the GPU instance cannot be made: {error}"
    names = ", ".join(
        f"instance {instance.id} (profile {instance.profile_id}, memory slice {instance.start})" for instance in in_way
    )
    return f"in its place lies {names}, which this driver did not make for a claim; remove it with nvidia-smi mig -dgi"
