"""A fleet's YAML as typed values: which nodes, with which devices, behind which switches.

description: four servers of eight H100, two to a rack switch
network:
  - {name: leaf, nodes: 2}
nodes:
  - name: gpu
    count: 4
    cpu: 192
    memory: 2Ti
    sockets: 2
    pcieSwitches: 4
    devices:
      - {model: h100-sxm-80gb, count: 8}
      - {model: connectx-7, count: 8}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Amount = str | int | None
"""A quantity as Kubernetes writes it, or a plain number. None: what the machine has."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    pass


class Tier(_Part, frozen=True):
    """One layer of network switches, the layers from the nodes outwards. Nodes fill them in the order of the file.

    `name` begins the names of its switches ("leaf" gives leaf-0, leaf-1, …); `nodes` is how many nodes are below one.
    """

    name: str
    nodes: int


class Address(_Part, frozen=True):
    """Where one device sits. `bus` is its PCI bus id, domain and function included or not ("27" is 0000:27:00.0);
    digits without quotes are read as the hexadecimal that they are meant as. What is left out is laid out as for
    devices without an address."""

    bus: str | int
    root: str | None = None
    switch: str | None = None
    numa: int | None = None
    socket: int | None = None


class Slice(_Part, frozen=True):
    """A TPU slice: the torus of its chips ("4x4", "4x4x8"), from as many nodes of the group in a row as it takes."""

    topology: str


class Fabric(_Part, frozen=True):
    """An NVLink domain that joins `nodes` nodes of the group in a row (18 for an NVL72 rack of four-GPU trays)."""

    nodes: int
    clique: int = 0


class Devices(_Part, frozen=True):
    """Devices of one model in every node of a group: `count` of them spread over the PCIe switches, or one `at` each
    address. The other fields are for the models that know them; see `models`.

    `partitions`: parts of a card are devices, too (PE groups of RNGD, on by default; groups of TPU chips). `mig`: GPUs
    are divided on demand. `shares`: several claims may hold a GPU at once: by the memory that they ask for, so many
    shares, or without limit."""

    model: str
    count: int | None = None
    at: tuple[Address, ...] = ()
    driver_version: str | None = None
    firmware: str | None = None
    partitions: bool | None = None
    mig: bool | None = None
    shares: int | Literal["memory", "unlimited"] | None = None
    slice: Slice | None = None
    fabric: Fabric | None = None


class Group(_Part, frozen=True):
    """`count` alike nodes: NAME-0, NAME-1 …, or NAME itself where no count is given.

    `sockets` are CPU packages, each with `numa_per_socket` NUMA nodes; `pcie_switches` are spread over them, none means
    that devices hang at the sockets' own root ports. `tiers` names the switches in place of the fleet's `network`, the
    nearest first. `taints` are key[=value]:Effect.
    """

    name: str
    devices: tuple[Devices, ...] = ()
    count: int | None = None
    cpu: Amount = None
    memory: Amount = None
    pods: int | None = None
    zone: str | None = None
    region: str | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    taints: tuple[str, ...] = ()
    sockets: int = 1
    numa_per_socket: int = 1
    pcie_switches: int = 0
    tiers: tuple[str, ...] = ()


class FleetDocument(_Part, frozen=True):
    """`seed` decides uuids and serial numbers; left out, it is the fleet's name."""

    nodes: tuple[Group, ...]
    description: str = ""
    seed: str | None = None
    network: tuple[Tier, ...] = ()
