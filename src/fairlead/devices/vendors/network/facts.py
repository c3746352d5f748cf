"""What was read of a node's network interfaces: ports of network cards, and their virtual functions.

A card's function (PCI) has a network interface, an RDMA device with one or more ports, or both. A virtual function is a
PCI function of its own that shares the port of its physical one. While an interface is in a pod's network namespace the
host does not see it, but the PCI function and the RDMA device stay; so functions, not interfaces, are what is counted.
Sources: the kernel's ABI documentation of /sys/class/net, /sys/class/infiniband and /sys/bus/pci; google/dranet for
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fairlead.devices.host import PciFunction

VFIO_DRIVER = "vfio-pci"
LinkLayer = Literal["ethernet", "infiniband"]


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """One port of an RDMA device. `device` as in /sys/class/infiniband ("mlx5_0"), `port` from 1. `state` is the port's
    state in a word ("ACTIVE", "INIT", "DOWN"), `lanes` the width of its link (a port of four on one lane has a bad
    cable). `nodes` are its files below /dev/infiniband ("uverbs0", "umad0")."""

    device: str
    port: int = 1
    link_layer: LinkLayer = "ethernet"
    state: str = "ACTIVE"
    rate_gbps: int | None = None
    lanes: int | None = None
    node_guid: str = ""
    firmware: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface on the host. `operstate` as the kernel says it. `is_up`: brought up by the administrator;
    only then does `carrier` say anything (None: not told). `speed_mbps` is None where no link tells it."""

    name: str
    mac: str
    mtu: int
    link_layer: LinkLayer = "ethernet"
    operstate: str = "up"
    is_up: bool = True
    carrier: bool | None = True
    speed_mbps: int | None = None
    alias: str = ""


@dataclass(frozen=True, slots=True)
class VirtualFunction:
    """Whose virtual function it is: the physical function's bus id, and the number among its virtual functions."""

    physical: str
    number: int


@dataclass(frozen=True, slots=True)
class NetworkPort:
    """One port of a physical function, or a virtual function.

    `port` counts from 0 the ports that share one PCI function (older dual-port cards); newer ones have a function for
    each port. `interface` is None where the host has none: RDMA only, bound to VFIO, or in a pod's namespace now.
    `total_vfs` is what the card could have, `vfs` what it has. `vfio_group` is set where the function is bound to VFIO.
    """

    pci: PciFunction
    port: int = 0
    interface: Interface | None = None
    rdma: RdmaPort | None = None
    driver: str = ""
    virtual: VirtualFunction | None = None
    total_vfs: int = 0
    vfs: int = 0
    vfio_group: int | None = None

    @property
    def name(self) -> str:
        """The device's name, by bus id, as dranet forms it: it stays when the interface is renamed or moves."""
        return self.name_of(self.pci.bus_id, self.port)

    @staticmethod
    def name_of(bus_id: str, port: int = 0) -> str:
        base = "pci-" + bus_id.replace(":", "-").replace(".", "-")
        return base if port == 0 else f"{base}-p{port}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A port that is not offered (by device name), and why. `by_rule`: it can be read and must not be given away."""

    name: str
    reason: str
    by_rule: bool = False


@dataclass(frozen=True, slots=True)
class NetworkPorts:
    """Every port and virtual function of a node, in the order of bus ids. `common_nodes`: files below /dev that every
    RDMA user needs ("/dev/infiniband/rdma_cm"). `needed`: PCI functions that the node itself needs, and why."""

    ports: tuple[NetworkPort, ...] = ()
    common_nodes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    needed: Mapping[str, str] = field(default_factory=dict)
