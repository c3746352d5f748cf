"""The cluster's own objects as this part sees them: nodes with labels, devices with places, taints and holders.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fairlead.devices.description import interface, is_network, product
from fairlead.devices.inventory import PCI_BUS_ID, Attribute, Version
from fairlead.devices.topology.hostlist import natural
from fairlead.devices.topology.label_values import INSTANCE_ANNOTATION, REGION
from fairlead.devices.topology.links import Spot, spot_from
from fairlead.devices.topology.providers.accelerators import domain_of
from fairlead.devices.topology.providers.cloud import KnownInstance
from fairlead.kube.objects import Node, ResourceClaim, ResourceSlice
from fairlead.kube.objects.devices import DeviceAttribute


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A whole device of a node. `interface` is a network port's; `held`: claims have it or a part of it; `taints` as
    "key=value:effect"."""

    node: str
    name: str
    driver: str
    product: str
    interface: str
    spot: Spot
    domain: str
    held: bool
    taints: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class NodeSeen:
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ready: bool
    cordoned: bool
    provider_id: str


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """`nodes` by name and `devices` by node name, both sorted."""

    nodes: Mapping[str, NodeSeen]
    devices: Mapping[str, tuple[DeviceSeen, ...]]

    @property
    def labels(self) -> dict[str, Mapping[str, str]]:
        return {name: node.labels for name, node in self.nodes.items()}

    def instances(self) -> dict[str, KnownInstance]:
        """Instance id -> node: Topograph's annotation, else the end of the node's provider id, else its name."""
        known: dict[str, KnownInstance] = {}
        for node in self.nodes.values():
            identifier = node.annotations.get(INSTANCE_ANNOTATION) or node.provider_id.rpartition("/")[2] or node.name
            known[identifier] = KnownInstance(node.name, node.labels.get(REGION, ""))
        return known


def see(
    nodes: Iterable[Node], slices: Iterable[ResourceSlice] = (), claims: Iterable[ResourceClaim] = ()
) -> ClusterSeen:
    """Slices of a pool's older generations do not count."""
    held = {
        (result.driver, result.pool, result.device)
        for claim in claims
        if claim.status.allocation is not None and claim.status.allocation.devices is not None
        for result in claim.status.allocation.devices.results
    }
    current = list(slices)
    newest: dict[tuple[str, str], int] = {}
    for item in current:
        if item.spec.pool is not None:
            key = (item.spec.driver, item.spec.pool.name)
            newest[key] = max(newest.get(key, 0), item.spec.pool.generation)
    found: dict[str, list[DeviceSeen]] = {}
    for item in current:
        pool = item.spec.pool
        if pool is not None and pool.generation == newest[item.spec.driver, pool.name] and item.spec.node_name:
            found.setdefault(item.spec.node_name, []).extend(_devices(item, held))
    seen = {node.metadata.name: _node(node) for node in nodes}
    return ClusterSeen(
        dict(sorted(seen.items())),
        {node: _whole(devices) for node, devices in sorted(found.items())},
    )


def _node(node: Node) -> NodeSeen:
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions)
    return NodeSeen(
        node.metadata.name,
        node.metadata.labels,
        node.metadata.annotations,
        ready,
        bool(node.spec.unschedulable),
        node.spec.provider_id,
    )


def _devices(item: ResourceSlice, held: set[tuple[str, str, str]]) -> Iterable[DeviceSeen]:
    pool = item.spec.pool.name if item.spec.pool is not None else ""
    for device in item.spec.devices:
        attributes = {name: value for name, raw in device.attributes.items() if (value := _value(raw)) is not None}
        # Parts of one card share its bus id; network functions without one stand for themselves.
        card = attributes.get(PCI_BUS_ID)
        bandwidth = device.capacity.get("bandwidth") or device.capacity.get(f"{item.spec.driver}/bandwidth")
        yield DeviceSeen(
            item.spec.node_name,
            device.name,
            item.spec.driver,
            product(attributes, bandwidth.value if bandwidth is not None else ""),
            interface(attributes),
            spot_from(device.name, attributes, f"{item.spec.driver}/{card}" if isinstance(card, str) else ""),
            domain_of(attributes),
            (item.spec.driver, pool, device.name) in held,
            tuple(f"{taint.key}={taint.value}:{taint.effect}" for taint in device.taints if taint.effect != "None"),
            attributes,
        )


def _whole(devices: Iterable[DeviceSeen]) -> tuple[DeviceSeen, ...]:
    """One device a card: the one with the shortest name, held or tainted if any of its parts is."""
    cards: dict[tuple[str, str], list[DeviceSeen]] = {}
    for device in devices:
        cards.setdefault((device.driver, device.spot.card), []).append(device)
    whole: list[DeviceSeen] = []
    for parts in cards.values():
        first = min(parts, key=lambda device: (len(device.name), device.name))
        whole.append(
            replace(
                first,
                held=any(part.held for part in parts),
                taints=tuple(dict.fromkeys(taint for part in parts for taint in part.taints)),
            )
        )
    return tuple(sorted(whole, key=_order))


def _order(device: DeviceSeen) -> tuple[bool, str, Any]:
    """Accelerators before the ports beside them."""
    return is_network(device.attributes), device.driver, natural(device.name)


def _value(raw: DeviceAttribute) -> Attribute | None:
    if raw.string is not None:
        return raw.string
    if raw.int_ is not None:
        return raw.int_
    if raw.bool_ is not None:
        return raw.bool_
    if raw.version is not None:
        return Version(raw.version)
    return tuple(raw.ints) or tuple(raw.strings) or None
