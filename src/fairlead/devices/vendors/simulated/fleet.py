"""A fleet: every node by name, with its place in the network and the seats of its devices. Read from YAML, then pure.

Errors name the path in the file, the value and what to write instead.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from fairlead.devices.vendors.simulated.document import Devices, FleetDocument, Group, Tier
from fairlead.devices.vendors.simulated.identity import Identity
from fairlead.devices.vendors.simulated.layout import Seat, place
from fairlead.devices.vendors.simulated.models import MODELS, Model, TpuModel
from fairlead.devices.vendors.simulated.rules import MAX_NODES, check_group, check_tiers, slice_shape
from fairlead.devices.vendors.simulated.strict import FleetError, decode, near, show
from fairlead.devices.vendors.tpu.facts import Shape

TIER_LABEL = "fabric.topograph.run/tier-{}"
DOMAIN_LABEL = "accelerator.topograph.run/domain"


@dataclass(frozen=True, slots=True)
class Torus:
    """A node's part in a TPU slice: the `worker`-th of its `hosts`, all of whose chips make the box `topology`."""

    topology: Shape
    worker: int
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """A node's part in an NVLink domain of several nodes."""

    uuid: str
    clique: int


@dataclass(frozen=True, slots=True)
class Placed:
    """One entry of `devices` in one node. `index` is the entry's place in the group."""

    index: int
    model: Model
    given: Devices
    seats: tuple[Seat, ...]
    torus: Torus | None = None
    domain: Domain | None = None


@dataclass(frozen=True, slots=True)
class FleetNode:
    """One node. `labels` include its place in the network."""

    name: str
    group: Group
    devices: tuple[Placed, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fleet:
    name: str
    seed: str
    description: str
    nodes: tuple[FleetNode, ...]

    def only(self, names: Collection[str]) -> Fleet:
        """The fleet with these nodes alone. Raises FleetError for a name that is not there."""
        known = [node.name for node in self.nodes]
        for name in names:
            if name not in known:
                raise FleetError(f"fleet {self.name}: no node {show(name)}; {near(name, known)}")
        return Fleet(self.name, self.seed, self.description, tuple(n for n in self.nodes if n.name in set(names)))


def builtin_fleets() -> tuple[str, ...]:
    """The names of the fleets that come with Fairlead."""
    folder = resources.files(__package__) / "fleets"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def read_fleet(asked: str) -> Fleet:
    """A built-in fleet by name, or the one in a file. Raises FleetError."""
    return parse_fleet(fleet_text(asked), Path(asked).stem, source=asked)


def fleet_text(asked: str) -> str:
    """The YAML of a built-in fleet or of a file. Raises FleetError."""
    known = builtin_fleets()
    if asked in known:
        return (resources.files(__package__) / "fleets" / f"{asked}.yaml").read_text()
    path = Path(asked)
    try:
        return path.read_text()
    except FileNotFoundError:
        what = "no such file" if "/" in asked or path.suffix else f"no fleet of that name; {near(asked, known)}"
        raise FleetError(f"{asked}: {what}") from None
    except UnicodeDecodeError:
        raise FleetError(f"{asked}: expected YAML, found bytes that are not UTF-8") from None
    except OSError as error:
        raise FleetError(f"{asked}: cannot be read: {error.strerror}") from error


def parse_fleet(text: str, name: str, *, source: str = "") -> Fleet:
    """The fleet that a YAML text describes. `source` is named in errors. Raises FleetError."""
    source = source or name
    document = decode(text, FleetDocument, source)
    try:
        nodes = _nodes(document, document.seed or name)
    except FleetError as error:
        raise FleetError(f"{source}: {error}") from None
    return Fleet(name, document.seed or name, document.description, nodes)


def _nodes(document: FleetDocument, seed: str) -> tuple[FleetNode, ...]:
    if not document.nodes:
        raise FleetError("nodes: there are none; describe one or more")
    check_tiers(document.network)
    nodes: list[FleetNode] = []
    seen: dict[str, str] = {}
    for n, group in enumerate(document.nodes):
        where = f"nodes[{n}]"
        check_group(group, where)
        if len(nodes) + (group.count or 1) > MAX_NODES:
            raise FleetError(f"{where}.count: more than {MAX_NODES} nodes in all; ask for fewer")
        seats = place(group, where)
        for k, name in enumerate(_names(group)):
            if name in seen:
                raise FleetError(f"{where}.name: {show(name)} is also a node of {seen[name]}; choose another name")
            seen[name] = where
            placed = tuple(_placed(group, d, at, k, seed) for d, at in enumerate(seats))
            nodes.append(FleetNode(name, group, placed, _labels(group, document.network, len(nodes), placed)))
    return tuple(nodes)


def _names(group: Group) -> list[str]:
    return [group.name] if group.count is None else [f"{group.name}-{k}" for k in range(group.count)]


def _placed(group: Group, index: int, seats: tuple[Seat, ...], number: int, seed: str) -> Placed:
    devices = group.devices[index]
    model = MODELS[devices.model]
    torus = domain = None
    if isinstance(model, TpuModel):
        shape = slice_shape(devices, model)
        workers = max(1, math.prod(shape) // len(seats))
        first = number - number % workers
        torus = Torus(shape, number - first, tuple(_names(group)[first : first + workers]))
    if devices.fabric is not None:
        made = Identity(seed, group.name).uuid(f"fabric-{index}", number // devices.fabric.nodes)
        domain = Domain(made, devices.fabric.clique)
    return Placed(index, model, devices, seats, torus, domain)


def _labels(group: Group, network: tuple[Tier, ...], number: int, placed: tuple[Placed, ...]) -> dict[str, str]:
    tiers = group.tiers or tuple(f"{tier.name}-{number // tier.nodes}" for tier in network)
    labels = {TIER_LABEL.format(n): switch for n, switch in enumerate(tiers)}
    for entry in placed:
        if entry.domain is not None:
            # NVIDIA's own label (nvidia.com/gpu.clique) has this form, and Topograph takes it over.
            labels[DOMAIN_LABEL] = f"{entry.domain.uuid}.{entry.domain.clique}"
        elif entry.torus is not None and len(entry.torus.hosts) > 1:
            labels[DOMAIN_LABEL] = f"{entry.torus.hosts[0]}-slice"
    return labels | dict(group.labels)
