"""NVLink between the GPUs of a node: how many links join each pair, and which GPUs are one domain.

Through NVSwitches every GPU reaches every other with all of its links; without them links join pairs directly. The word
is that of `nvidia-smi topo -m` (NV18: 18 links). Scores lie between one PCIe switch (30) and one fabric (70).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from fairlead.devices.inventory import Link
from fairlead.devices.vendors.nvidia.facts import Gpu

_FABRIC = 70
_DIRECT = 40
_EACH = 2


def links(gpus: Sequence[Gpu]) -> Iterator[Link]:
    for a, b in combinations(gpus, 2):
        lanes = lanes_between(a, b)
        if lanes:
            score = _FABRIC if _is_switched(a) and _is_switched(b) else min(_FABRIC, _DIRECT + _EACH * lanes)
            yield Link(a.name, b.name, f"NV{lanes}", score)


def lanes_between(a: Gpu, b: Gpu) -> int:
    """Links that are up between two GPUs."""
    direct = _direct(a, b) or _direct(b, a)
    if direct:
        return direct
    if _is_switched(a) and _is_switched(b) and _clique(a) == _clique(b):
        return min(_switched(a), _switched(b))
    return 0


def nvlink_domains(gpus: Sequence[Gpu]) -> Mapping[str, str]:
    """UUID -> domain of every GPU that NVLink joins with another: "<cluster>.<clique>" as NVIDIA labels nodes of a
    multi-node fabric; else the UUID of the first GPU of those that reach each other."""
    domains: dict[str, str] = {gpu.uuid: _clique(gpu) for gpu in gpus if _clique(gpu)}
    rest = [gpu for gpu in gpus if gpu.uuid not in domains]
    first = {gpu.uuid: gpu.uuid for gpu in rest}
    joined: set[str] = set()
    for a, b in combinations(rest, 2):
        if lanes_between(a, b):
            joined |= {a.uuid, b.uuid}
            lower, upper = sorted((first[a.uuid], first[b.uuid]), key=lambda uuid: _minor(rest, uuid))
            first = {uuid: lower if leader == upper else leader for uuid, leader in first.items()}
    return domains | {uuid: leader for uuid, leader in first.items() if uuid in joined}


def _minor(gpus: Sequence[Gpu], uuid: str) -> int:
    return next(gpu.minor for gpu in gpus if gpu.uuid == uuid)


def _direct(a: Gpu, b: Gpu) -> int:
    return sum(link.active and link.remote == "gpu" and link.remote_bus_id == b.pci.bus_id for link in a.nvlinks)


def _switched(gpu: Gpu) -> int:
    return sum(link.active and link.remote == "switch" for link in gpu.nvlinks)


def _is_switched(gpu: Gpu) -> bool:
    return _switched(gpu) > 0


def _clique(gpu: Gpu) -> str:
    fabric = gpu.fabric
    return f"{fabric.cluster_uuid}.{fabric.clique_id}" if fabric and fabric.cluster_uuid else ""
