"""What was read of a node's Furiosa RNGD cards.

A card has eight processing elements (PEs). The kernel driver offers them alone and fused in aligned groups of two and
four, each by a device file of its own below /dev/rngd ("npu0pe3", "npu0pe2-3", "npu0pe0-3"); there is no file for a
fusion of eight. Sources: furiosa-ai/libfuriosa-kubernetes (device files), furiosa-ai/device-api (files of the
management class).
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.devices.host import PciFunction

PES_PER_CARD = 8
MEMORY_BYTES = 48 << 30
"""Memory of a card; the driver's own tools show a little less, as some of it belongs to the firmware."""
CHANNELS = 8
PRODUCTS = ("rngd", "rngd-s", "rngd-max")


@dataclass(frozen=True, slots=True, order=True)
class PeRange:
    """Processing elements `start` up to and without `start + count` of one card."""

    start: int
    count: int

    @property
    def stop(self) -> int:
        return self.start + self.count

    def __str__(self) -> str:
        """As the driver and furiosa-llm write it: "3", "0-3"."""
        return str(self.start) if self.count == 1 else f"{self.start}-{self.stop - 1}"

    def holds(self, other: PeRange) -> bool:
        """Whether the other lies wholly inside."""
        return self.start <= other.start and other.stop <= self.stop

    def overlaps(self, other: PeRange) -> bool:
        return self.start < other.stop and other.start < self.stop


WHOLE_CARD = PeRange(0, PES_PER_CARD)
FUSIONS = tuple(PeRange(start, count) for count in (1, 2, 4) for start in range(0, PES_PER_CARD, count))
"""Every group of PEs that the driver has a device file for: 8 single ones, 4 pairs, 2 fours."""


@dataclass(frozen=True, slots=True)
class Card:
    """One RNGD. `index` is the driver's number, the N of npuN; numbers need not be dense, as a card may drop.

    `product` is one of PRODUCTS. `firmware` and `driver` are the driver's texts ("1.6.0, c1bebfd"), empty where it
    tells none. `nodes` are the names of the card's files below /dev/rngd that are there now.
    """

    index: int
    uuid: str
    serial: str
    pci: PciFunction
    nodes: tuple[str, ...]
    product: str = "rngd"
    firmware: str = ""
    driver: str = ""
    memory_bytes: int = MEMORY_BYTES

    @property
    def name(self) -> str:
        return f"npu{self.index}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A card that was seen and could not be described, and why: it may be on its way out or in."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cards:
    """Every card of a node, in the order of their numbers."""

    cards: tuple[Card, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def standard_nodes(index: int) -> tuple[str, ...]:
    """The device files of a card as the driver makes them, by name below /dev/rngd."""
    card = f"npu{index}"
    channels = [f"{card}ch{channel}{remote}" for remote in ("", "r") for channel in range(CHANNELS)]
    elements = [f"{card}pe{fusion}" for fusion in FUSIONS]
    bars = [f"{card}bar{bar}" for bar in (0, 2, 4)]
    return (card, f"{card}mgmt", *elements, *channels, f"{card}dmar", *bars)
