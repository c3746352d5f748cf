"""Names that NVML has as numbers, spelled as NVIDIA's own tools and DRA driver spell them, so that selectors match.

Sources: NVIDIA/go-nvlib (device brand, architecture, MIG profile), nvml.h, NVIDIA's MIG user guide ("device names").
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fairlead.devices.vendors.nvidia.facts import Gpu, MigProfile, Placement

_BRANDS: Mapping[int, str] = {
    1: "Quadro",
    2: "Tesla",
    3: "NVS",
    4: "Grid",
    5: "GeForce",
    6: "Titan",
    7: "NvidiaVApps",
    8: "NvidiaVPC",
    9: "NvidiaVCS",
    10: "NvidiaVWS",
    11: "NvidiaCloudGaming",
    12: "QuadroRTX",
    13: "NvidiaRTX",
    14: "Nvidia",
    15: "GeForceRTX",
    16: "TitanRTX",
}
_ARCHITECTURES: Mapping[int, str] = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada Lovelace",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
ADDRESSING_MODES: Mapping[int, str] = {0: "None", 1: "HMM", 2: "ATS"}
_MARKS: Mapping[int, str] = {
    7: "+me",
    8: "+me",
    10: "+gfx",
    11: "+gfx",
    12: "+gfx",
    13: "-me",
    14: "-me",
    15: "+me.all",
    16: "+me.all",
    17: "+gfx",
}
"""NVML_GPU_INSTANCE_PROFILE_… -> what its name ends with, for libraries that do not tell profiles' names."""
_PARTITION = re.compile(r"gpu-(\d+)-mig-(.+)-(\d+)-(\d+)")


def brand_name(brand: int) -> str:
    return _BRANDS.get(brand, "Unknown")


def architecture_name(architecture: int) -> str:
    return _ARCHITECTURES.get(architecture, "Unknown")


def profile_name(told: str, number: int, slices: int, memory_mib: int, gpu_memory_bytes: int | None) -> str:
    """ "1g.10gb+me". `told` is NVML's name ("MIG 1g.10gb+me"), where it has one; else it is put together as NVIDIA's
    tools do: memory as the next eighth of the GPU's, in whole GB."""
    if told:
        return told.removeprefix("MIG ")
    memory_gb = round(memory_mib / 1024)
    if gpu_memory_bytes:
        eighths = -(-memory_mib * 8 * (1 << 20) // gpu_memory_bytes)
        memory_gb = round(eighths / 8 * -(-gpu_memory_bytes // (1 << 30)))
    return f"{slices}g.{memory_gb}gb{_MARKS.get(number, '')}"


def mig_device_name(profile: MigProfile, compute_slices: int | None) -> str:
    """The GPU instance's profile, with the compute instance's slices where it has a part of it only: "1c.2g.20gb"."""
    if compute_slices is None or compute_slices == profile.compute_slices:
        return profile.name
    return f"{compute_slices}c.{profile.name}"


def partition_name(gpu: Gpu, name: str, profile: MigProfile, placement: Placement) -> str:
    """ "gpu-0-mig-1g10gb-19-0": parent, profile's name, its id, first memory slice."""
    plain = re.sub(r"[^a-z0-9-]", "-", name.lower().replace(".", "")).strip("-")
    return f"{gpu.name}-mig-{plain}-{profile.id}-{placement.start}"


def parse_partition(name: str) -> tuple[int, int, int] | None:
    """Minor, profile id and first memory slice of a partition's name; None where it is none."""
    match = _PARTITION.fullmatch(name)
    return (int(match[1]), int(match[3]), int(match[4])) if match else None
