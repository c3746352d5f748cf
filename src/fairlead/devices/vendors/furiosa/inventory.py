"""From facts about RNGD cards to devices: every card, and every group of its processing elements that can run alone.

A card and its 14 groups draw on one counter set (a counter for each PE, and the memory), so whatever is handed out can
never overlap: two devices that share a PE ask for its counter twice, and it is there once. The card's memory is split
by PEs, exactly: a PE has an eighth.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
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
from fairlead.devices.vendors.furiosa.facts import FUSIONS, PES_PER_CARD, WHOLE_CARD, Card, Cards, PeRange
from fairlead.devices.vendors.versions import version
from fairlead.kube.quantity import Format, Quantity

UNKNOWN, INTERCONNECT, CPU, BRIDGE, NOC = ("unknown", 0), ("interconnect", 10), ("cpu", 20), ("bridge", 30), ("noc", 70)
"""How two cards are joined, and the score that Furiosa's own allocator sums (libfuriosa-kubernetes, npu_allocator)."""

_MAX_TEXT_BYTES = 64


def build(facts: Cards, *, partitions: bool = True) -> Inventory:
    """Cards first: an allocator takes the first that fits, and a selector that knows no partitions means cards."""
    devices = [_device(card, WHOLE_CARD, counted=partitions) for card in facts.cards]
    if partitions:
        devices += [_device(card, part, counted=True) for card in facts.cards for part in available_parts(card)]
    counters = {card.name: _quantities(card, WHOLE_CARD) for card in facts.cards} if partitions else {}
    links = tuple(Link(a.name, b.name, *link_between(a, b)) for a, b in combinations(facts.cards, 2))
    return Inventory(tuple(devices), counters, links)


def device_name(card: Card, part: PeRange) -> str:
    """ "npu0" for a whole card, "npu0pe4-7" for a part of it, as its device file is called."""
    return card.name if part == WHOLE_CARD else f"{card.name}pe{part}"


@lru_cache(maxsize=256)
def available_parts(card: Card) -> tuple[PeRange, ...]:
    """The groups of PEs that the card's driver has a device file for. Remembered, as it is asked for with each look at
    a card's health."""
    nodes = frozenset(card.nodes)
    return tuple(part for part in FUSIONS if f"{card.name}pe{part}" in nodes)


@lru_cache(maxsize=256)
def parts_by_name(card: Card) -> Mapping[str, PeRange]:
    """The card as a whole and its parts by device name."""
    return {device_name(card, part): part for part in (WHOLE_CARD, *available_parts(card))}


def link_between(a: Card, b: Card) -> tuple[str, int]:
    """Kind and score of the closest way between two cards (or within one)."""
    if a.pci.bus_id == b.pci.bus_id:
        return NOC
    if a.pci.switch is not None and a.pci.switch == b.pci.switch:
        return BRIDGE
    if a.pci.socket is not None and b.pci.socket is not None:
        return CPU if a.pci.socket == b.pci.socket else INTERCONNECT
    if a.pci.numa_node is not None and a.pci.numa_node == b.pci.numa_node:
        return CPU
    return UNKNOWN


def _device(card: Card, part: PeRange, *, counted: bool) -> Device:
    quantities = _quantities(card, part)
    memory = quantities["memory"]
    return Device(
        name=device_name(card, part),
        attributes=_attributes(card, part),
        capacity={"memory": Capacity(memory), "cores": Capacity(str(part.count))},
        consumes={card.name: quantities} if counted else {},
        parent="" if part == WHOLE_CARD else card.name,
    )


def _quantities(card: Card, part: PeRange) -> dict[str, str]:
    """Counter -> how much of it the part uses."""
    share = card.memory_bytes // PES_PER_CARD
    memory = card.memory_bytes if part == WHOLE_CARD else share * part.count
    counters = {f"pe{element}": "1" for element in range(part.start, part.stop)}
    return counters | {"memory": str(Quantity(memory, Format.BINARY_SI))}


def _attributes(card: Card, part: PeRange) -> dict[str, Attribute]:
    whole = part == WHOLE_CARD
    told: dict[str, Attribute | None] = {
        "type": "card" if whole else "partition",
        "index": card.index,
        "uuid": card.uuid if whole else f"{card.uuid}_cores_{part}",
        "cardUUID": card.uuid,
        "serialNumber": card.serial,
        "arch": card.product,
        "product": card.product,
        "family": "rngd",
        "firmwareVersion": version(card.firmware),
        "driverVersion": version(card.driver),
        "peStart": part.start,
        "peCount": part.count,
        "pcieSwitch": card.pci.switch,
        "socket": card.pci.socket,
        PCIE_ROOT: card.pci.root,
        PCI_BUS_ID: card.pci.bus_id,
        NUMA_NODE: card.pci.numa_node,
        PCIE_SWITCH: card.pci.switch,
        SOCKET: card.pci.socket,
    }
    return {name: value for name, value in told.items() if value is not None and _fits(value)}


def _fits(value: Attribute) -> bool:
    """Whether the API takes the value: a text must not be empty or too long."""
    return not isinstance(value, str) or 0 < len(value.encode()) <= _MAX_TEXT_BYTES
