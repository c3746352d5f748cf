"""What a container gets for a card or a part of one: device files and, for a claim, the variable that names them.

A part keeps the card's common files (management, channels, DMA, bars) and of the PE files those that lie wholly inside
its range. Names in the container are those of the host, as Furiosa's libraries look for them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode
from fairlead.devices.vendors.furiosa.facts import WHOLE_CARD, Card, PeRange
from fairlead.devices.vendors.furiosa.probe import DEVICES

VARIABLE = "FURIOSA_DEVICES"
"""Which devices a process should use, in furiosa-llm's notation (`--devices`); read by Ray and by Furiosa's runtime."""

_ELEMENT = re.compile(r"npu\d+pe(\d+)(?:-(\d+))?")


@lru_cache(maxsize=1024)
def device_edits(card: Card, part: PeRange) -> ContainerEdits:
    """The device files of a part of a card. Remembered: a node has 120 parts, and a claim waits for all of them to be
    asked for."""
    nodes = (f"{DEVICES}/{name}" for name in card.nodes if _belongs(name, part))
    return ContainerEdits(device_nodes=[DeviceNode(path=path, host_path=path, permissions="rw") for path in nodes])


def claim_edits(granted: Iterable[tuple[Card, PeRange]]) -> ContainerEdits:
    """The variable for all of a claim's devices, in order of cards and PEs; no edits for no devices."""
    ordered = sorted({(card.index, part) for card, part in granted})
    if not ordered:
        return ContainerEdits()
    return ContainerEdits(env=[f"{VARIABLE}={','.join(notation(index, part) for index, part in ordered)}"])


def notation(index: int, part: PeRange) -> str:
    """ "npu:0" is a whole card, "npu:0:4-7" PEs 4 to 7 fused."""
    return f"npu:{index}" if part == WHOLE_CARD else f"npu:{index}:{part}"


def _belongs(name: str, part: PeRange) -> bool:
    match = _ELEMENT.fullmatch(name)
    if match is None:
        return True
    first, last = int(match[1]), int(match[2] or match[1])
    return part.holds(PeRange(first, last - first + 1))
