"""From facts about a host's TPU chips to devices: chips, and (when asked for) the groups of chips a process can hold.

libtpu runs on 1, 2, 4 or 8 chips that form a box. A claim for several single chips can get some that do not, once
others are taken; a group is such a box as one device. Groups and chips draw on one counter set, a counter for each
chip. They are not published by default, since a class that was written for upstream's driver and a claim for all of it
would ask for chips and groups at once.

`x`, `y` and `z` are a chip's place in the slice as JAX numbers devices (x fastest, inside the host's box, which is at
`workerX`, `workerY`, `workerZ` among the hosts); which chip of a host sits where on its board no file tells.
"""

from __future__ import annotations

import uuid
from itertools import combinations

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
    Link,
)
from fairlead.devices.vendors.tpu.facts import HOST_BOUNDS, Chip, Generation, Shape, TpuHost
from fairlead.devices.vendors.tpu.slice import shape_text
from fairlead.kube.quantity import Format, Quantity

COUNTERS = "chips"
ICI = ("ici", 70)
"""Chips of a host are joined by their own links, whatever PCIe between them."""

_NAMESPACE = uuid.UUID("0b1f3a52-3d0c-5d7e-9a4f-6f0f6a3f7c11")
_MAX_TEXT_BYTES = 64


def build(facts: TpuHost, node: str, *, groups: bool = False) -> Inventory:
    """`node` is the node's name: chips have no identifier of their own, so one is made of it and the device file."""
    generation = facts.generation
    if generation is None:
        return Inventory()
    parts = chip_groups(facts) if groups else ()
    counted = bool(parts)
    devices = [_chip(facts, generation, chip, node, counted=counted) for chip in facts.chips]
    devices += [_group(facts, generation, chips, node) for chips in parts]
    counters = {COUNTERS: {f"chip{chip.index}": "1" for chip in facts.chips}} if counted else {}
    links = tuple(Link(a.name, b.name, *ICI) for a, b in combinations(facts.chips, 2))
    return Inventory(tuple(devices), counters, links)


def chip_groups(facts: TpuHost) -> tuple[tuple[Chip, ...], ...]:
    """Every box of two and more chips of the host, smaller ones first. None while a chip is missing: what is left no
    longer lies where its number says."""
    count = len(facts.chips)
    if facts.generation is None or count not in HOST_BOUNDS:
        return ()
    sizes = [size for size in HOST_BOUNDS if 1 < size <= count and (facts.generation.divisible or size == count)]
    return tuple(facts.chips[start : start + size] for size in sizes for start in range(0, count, size))


def group_name(chips: tuple[Chip, ...]) -> str:
    return f"chips-{chips[0].index}-{chips[-1].index}"


def worker_place(facts: TpuHost) -> Shape | None:
    """The host's place among the hosts of its slice, x fastest; None where the platform does not tell enough."""
    bounds, topology, worker = host_shape(facts), facts.slice.topology, facts.slice.worker
    if bounds is None or topology is None or worker is None:
        return None
    hosts = [length // part for length, part in zip(topology, bounds, strict=True)]
    return worker % hosts[0], worker // hosts[0] % hosts[1], worker // (hosts[0] * hosts[1])


def host_shape(facts: TpuHost) -> Shape | None:
    """The box that the host's chips make."""
    return facts.slice.chips_per_host or HOST_BOUNDS.get(len(facts.chips))


def _chip(facts: TpuHost, generation: Generation, chip: Chip, node: str, *, counted: bool) -> Device:
    attributes = _common(facts, generation) | {
        "type": "chip",
        "index": chip.index,
        "uuid": _uuid(node, chip.name),
        **_place(facts, chip),
        "pcieSwitch": chip.pci.switch,
        "socket": chip.pci.socket,
        PCIE_ROOT: chip.pci.root,
        PCI_BUS_ID: chip.pci.bus_id,
        NUMA_NODE: chip.pci.numa_node,
        PCIE_SWITCH: chip.pci.switch,
        SOCKET: chip.pci.socket,
    }
    return Device(
        name=chip.name,
        attributes=_told(attributes),
        capacity=_capacity(generation, 1),
        consumes={COUNTERS: {f"chip{chip.index}": "1"}} if counted else {},
    )


def _group(facts: TpuHost, generation: Generation, chips: tuple[Chip, ...], node: str) -> Device:
    name = group_name(chips)
    nodes = {chip.pci.numa_node for chip in chips}
    sockets = {chip.pci.socket for chip in chips}
    socket = sockets.pop() if len(sockets) == 1 else None
    attributes = _common(facts, generation) | {
        "type": "group",
        "index": chips[0].index,
        "uuid": _uuid(node, name),
        "groupSize": len(chips),
        "socket": socket,
        SOCKET: socket,
        NUMA_NODE: nodes.pop() if len(nodes) == 1 else None,
    }
    return Device(
        name=name,
        attributes=_told(attributes),
        capacity=_capacity(generation, len(chips)),
        consumes={COUNTERS: {f"chip{chip.index}": "1" for chip in chips}},
    )


def _common(facts: TpuHost, generation: Generation) -> dict[str, Attribute | None]:
    topology, place = facts.slice.topology, worker_place(facts)
    attributes: dict[str, Attribute | None] = {
        "tpuGen": generation.name,
        "brand": "Google",
        "accelerator": facts.slice.accelerator,
        "acceleratorType": facts.slice.accelerator_type,
        "chipCount": len(facts.chips),
        "topology": None if topology is None else shape_text(topology, generation),
        "workerID": facts.slice.worker,
    }
    if place is not None:
        attributes |= {"workerX": place[0], "workerY": place[1], "workerZ": place[2]}
    return attributes


def _place(facts: TpuHost, chip: Chip) -> dict[str, Attribute | None]:
    place, bounds = worker_place(facts), host_shape(facts)
    if place is None or bounds is None:
        return {}
    inside = (chip.index % bounds[0], chip.index // bounds[0] % bounds[1], chip.index // (bounds[0] * bounds[1]))
    x, y, z = (place[axis] * bounds[axis] + inside[axis] for axis in range(3))
    return {"x": x, "y": y, "z": z}


def _capacity(generation: Generation, chips: int) -> dict[str, Capacity]:
    memory = str(Quantity(generation.memory_bytes * chips, Format.BINARY_SI))
    return {"memory": Capacity(memory), "chips": Capacity(str(chips)), "cores": Capacity(str(generation.cores * chips))}


def _uuid(node: str, name: str) -> str:
    return f"tpu-{uuid.uuid5(_NAMESPACE, f'{node}/{name}')}"


def _told(attributes: dict[str, Attribute | None]) -> dict[str, Attribute]:
    """What is known, and what the API takes of it."""
    return {
        name: value
        for name, value in attributes.items()
        if value is not None and not (isinstance(value, str) and not 0 < len(value.encode()) <= _MAX_TEXT_BYTES)
    }
