"""What a node has, vendor-neutral: devices, partitions over shared counters, and how devices hang together.

A vendor's `probe` returns an `Inventory`; `devices.slices` turns it into ResourceSlices, and nothing else publishes.
Names without a domain ("productName") belong to the driver's own domain; standard ones carry theirs
("resource.kubernetes.io/pcieRoot"), as in `resource.k8s.io/v1`. Quantities are texts as the API writes them ("80Gi").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PCIE_ROOT = "resource.kubernetes.io/pcieRoot"
PCI_BUS_ID = "resource.kubernetes.io/pciBusID"
NUMA_NODE = "resource.kubernetes.io/numaNode"
"""Attributes that every vendor names alike (upstream's `deviceattribute`)."""
PCIE_SWITCH = "fairlead.dev/pcieSwitch"
SOCKET = "fairlead.dev/socket"
"""The same across vendors, where upstream has no name: `matchAttribute` compares by full name, so an accelerator and a
network card of two drivers can only be matched by an attribute that both publish under one domain."""


class Version(str):
    """An attribute value of the API's type `version` (semver 2.0.0), where a plain `str` is of type `string`."""

    __slots__ = ()


Attribute = bool | int | str | Version | tuple[int, ...] | tuple[str, ...]
"""One attribute's value. Tuples are list attributes (Kubernetes 1.37); servers without them drop them."""


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """How shares of a capacity may be asked for (consumable capacity): either `valid_values` or min/max/step.

    `default` is what a request that names no amount gets.
    """

    default: str
    valid_values: tuple[str, ...] = ()
    min: str = ""
    max: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """A quantity that a device has, and how it is shared where several claims may hold the device."""

    value: str
    policy: RequestPolicy | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """One thing a claim can be given: a card, a partition of one, a network interface.

    `name` is a DNS label, unique in the inventory and stable across restarts and re-probes of the same hardware.
    `consumes`: counter set -> counter -> quantity that handing it out uses up. `shareable`: several claims may hold it
    at once (`allowMultipleAllocations`). `parent` names the whole device that a partition is part of.
    """

    name: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    capacity: Mapping[str, Capacity] = field(default_factory=dict)
    consumes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shareable: bool = False
    parent: str = ""
    binding_conditions: tuple[str, ...] = ()
    binding_failure_conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """How two whole devices are joined, closest way only. `score` grows with closeness (Furiosa's scale: 0 unknown, 10
    other socket, 20 same socket, 30 same PCIe switch, 70 on the card or its own fabric)."""

    a: str
    b: str
    kind: str
    score: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything of one driver on one node. `counters`: set -> counter -> quantity, shared by the devices' `consumes`.

    `links` are those that attributes alone do not tell (NVLink lanes, a fabric); see `devices.topology`.
    """

    devices: tuple[Device, ...] = ()
    counters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    def find(self, name: str) -> Device | None:
        return next((device for device in self.devices if device.name == name), None)
