"""The variables by which libtpu takes the chips of a claim, and none that are another's. Pure.

libtpu must be told which chips are its own, the box they make (TPU_CHIPS_PER_…_BOUNDS) and the box that the processes
make (TPU_…PROCESS_BOUNDS); older versions call a process a host. Sources: Cloud TPU documentation, the multi-process
tests of JAX and torch_xla, kubernetes-sigs/dra-driver-google-tpu (whole hosts, wrap-around).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from fairlead.devices.errors import ClaimError
from fairlead.devices.vendor import ClaimReference
from fairlead.devices.vendors.tpu.facts import HOST_BOUNDS, V4, V5P, Generation, Shape, TpuHost
from fairlead.devices.vendors.tpu.inventory import host_shape
from fairlead.devices.vendors.tpu.slice import shape_text

FIRST_PORT = 8476
"""libtpu's default; a process with a part of a host takes the port that many above it as its first chip's number, so
that two of them on one host do not meet."""
_ALONE: Shape = (1, 1, 1)
_FLAT_WRAP = 16
_CUBE = 4


def claim_environment(
    facts: TpuHost, indexes: Iterable[int], claim: ClaimReference, *, worker: bool = True
) -> tuple[str, ...]:
    """NAME=VALUE for a claim that holds these chips. `worker`: whether a whole host says which of its slice it is.

    Raises ClaimError for chips that one process of libtpu cannot hold.
    """
    chosen = sorted(indexes)
    generation = facts.generation
    if generation is None or not chosen:
        return ()
    check_chips(facts, chosen, claim)
    visible = ",".join(str(index) for index in chosen)
    variables = {"TPU_SKIP_MDS_QUERY": "true", "TPU_VISIBLE_CHIPS": visible, "TPU_VISIBLE_DEVICES": visible}
    whole = len(chosen) == len(facts.chips)
    if whole and facts.slice.topology is not None and (facts.slice.chips or 0) > len(chosen):
        variables |= _part_of_slice(facts, generation, facts.slice.topology, worker=worker)
    else:
        variables |= _alone(facts, generation, chosen, whole=whole)
    return tuple(f"{name}={value}" for name, value in variables.items())


def check_chips(facts: TpuHost, chosen: list[int], claim: ClaimReference) -> None:
    """Raises ClaimError, which trying again does not mend, with what to ask for instead."""
    count, there = len(chosen), len(facts.chips)
    generation = facts.generation
    start = f"claim {claim}: chips {', '.join(map(str, chosen))} of {there}"
    if generation is not None and not generation.divisible and count != there:
        raise ClaimError(f"{start}: {generation.name} runs only with all chips of a host; ask for {there}", retry=False)
    if count not in HOST_BOUNDS:
        sizes = ", ".join(str(size) for size in HOST_BOUNDS if size <= there)
        raise ClaimError(f"{start}: libtpu cannot run on {count} chips; ask for one of {sizes}", retry=False)
    if count > 1 and there not in HOST_BOUNDS:
        raise ClaimError(
            f"{start}: a chip of the host is missing, so the others make no box; ask for one chip", retry=False
        )
    if chosen != list(range(chosen[0], chosen[0] + count)) or chosen[0] % count:
        raise ClaimError(
            f"{start} make no box: {count} chips must be neighbours from a multiple of {count}; ask for one device of "
            f'type "group" with groupSize {count}, which is always such a box',
            retry=False,
        )


def _alone(facts: TpuHost, generation: Generation, chosen: list[int], *, whole: bool) -> dict[str, str]:
    """One process that knows of no other chips than its own."""
    box = (host_shape(facts) if whole else None) or HOST_BOUNDS[len(chosen)]
    variables = _bounds(box, _ALONE) | {"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "localhost"}
    if whole:
        return variables | {
            "TPU_TOPOLOGY": shape_text(box, generation),
            "TPU_ACCELERATOR_TYPE": _accelerator_type(generation, box),
        }
    port = FIRST_PORT + chosen[0]
    return variables | {
        "TPU_PROCESS_PORT": str(port),
        "TPU_PROCESS_ADDRESSES": f"localhost:{port}",
        "CLOUD_TPU_TASK_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }


def _part_of_slice(facts: TpuHost, generation: Generation, topology: Shape, *, worker: bool) -> dict[str, str]:
    """One host of several. Its number and the others' names only where the platform tells both."""
    box = host_shape(facts) or HOST_BOUNDS[len(facts.chips)]
    x, y, z = (length // part for length, part in zip(topology, box, strict=True))
    variables = _bounds(box, (x, y, z)) | {
        "TPU_TOPOLOGY": shape_text(topology, generation),
        "TPU_ACCELERATOR_TYPE": facts.slice.accelerator_type or _accelerator_type(generation, topology),
        "TPU_TOPOLOGY_WRAP": _wrap(generation, topology),
        "TPU_TOPOLOGY_ALT": "false",
    }
    names = facts.slice.worker_hostnames
    if worker and facts.slice.worker is not None and len(names) == x * y * z:
        variables |= {"TPU_WORKER_ID": str(facts.slice.worker), "TPU_WORKER_HOSTNAMES": ",".join(names)}
    return variables


def _bounds(box: Shape, processes: Shape) -> dict[str, str]:
    chips, hosts = ",".join(map(str, box)), ",".join(map(str, processes))
    return {
        "TPU_CHIPS_PER_HOST_BOUNDS": chips,
        "TPU_CHIPS_PER_PROCESS_BOUNDS": chips,
        "TPU_HOST_BOUNDS": hosts,
        "TPU_PROCESS_BOUNDS": hosts,
    }


def _accelerator_type(generation: Generation, chips: Shape) -> str:
    return f"{generation.name}-{prod(chips) * generation.cores}"


def _wrap(generation: Generation, topology: Shape) -> str:
    """Which axes close to a ring: all of a slice of whole cubes (v4, v5p), or an axis of full length (flat ones)."""
    if generation in (V4, V5P):
        return ",".join([str(all(length >= _CUBE for length in topology)).lower()] * 3)
    return ",".join(str(length == _FLAT_WRAP).lower() for length in topology)
