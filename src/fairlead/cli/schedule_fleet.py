"""Simulated fleets as the API objects that a cluster of them would have: Nodes, ResourceSlices and DeviceClasses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import yaml

from fairlead.cli.failure import Failed
from fairlead.cli.schedule_documents import Document, Object
from fairlead.devices.errors import DeviceError
from fairlead.devices.slices.layout import compute_layout
from fairlead.devices.slices.plan import Pool, compute_plan
from fairlead.devices.vendors.simulated.fleet import Fleet, FleetNode, fleet_text, parse_fleet
from fairlead.devices.vendors.simulated.vendor import SimulatedVendor, create_fleet
from fairlead.kube.kinds import RESOURCE_SLICES
from fairlead.kube.objects import DeviceClass, KubernetesObject, Node, ResourceSlice

KIND = "Fleet"
_CPU, _MEMORY, _PODS = "64", "512Gi", 110
"""What a node has whose description does not say: a simulated node is no part of this machine."""

Step = Callable[[int], None]
"""Told after each step how many nodes are done."""


def is_fleet(obj: Mapping[str, Any]) -> bool:
    """Whether a document describes a fleet: `kind: Fleet`, or the file of `fairlead up --devices` as it is."""
    kind = obj.get("kind")
    return kind == KIND or (kind is None and "apiVersion" not in obj and "nodes" in obj)


def builtin_fleet(name: str) -> Document:
    """A fleet that comes with Fairlead, or a file's, as a document. Raises Failed."""
    try:
        return Document(name, 1, {"kind": KIND, **yaml.load(fleet_text(name), Loader=yaml.CSafeLoader)})
    except DeviceError as error:
        raise Failed(str(error)) from error


def expand_fleet(document: Document, step: Step = lambda _: None) -> Iterator[KubernetesObject]:
    """The objects of a fleet, typed. Raises Failed, naming file, field, value and remedy."""
    metadata = document.obj.get("metadata")
    named = metadata.get("name") if isinstance(metadata, dict) else None
    content = {key: value for key, value in document.obj.items() if key not in ("kind", "apiVersion", "metadata")}
    # Read again as text: the file's reader names the path of what is wrong in it.
    text = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)
    try:
        fleet = parse_fleet(text, str(named or "fleet"), source=document.where)
        yield from _objects(fleet, step)
    except DeviceError as error:
        raise Failed(str(error)) from error


def _objects(fleet: Fleet, step: Step) -> Iterator[KubernetesObject]:
    classes: dict[str, Mapping[str, Any]] = {}
    by_node: dict[str, list[SimulatedVendor]] = {}
    for vendor in create_fleet(fleet):
        by_node.setdefault(vendor.node, []).append(vendor)
    for number, node in enumerate(fleet.nodes, 1):
        yield msgspec.convert(_node(node), Node)
        for vendor in by_node.get(node.name, ()):
            yield from _slices(vendor)
            for each in vendor.device_classes():
                classes.setdefault(each["metadata"]["name"], each)
        step(number)
    yield from (msgspec.convert({**each}, DeviceClass) for each in classes.values())


def _node(node: FleetNode) -> Object:
    group = node.group
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    for label, value in (("topology.kubernetes.io/zone", group.zone), ("topology.kubernetes.io/region", group.region)):
        if value:
            labels[label] = value
    amounts = {
        "cpu": str(group.cpu or _CPU),
        "memory": str(group.memory or _MEMORY),
        "pods": str(group.pods or _PODS),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {**labels, **node.labels}, "annotations": dict(group.annotations)},
        "spec": {"taints": list(_taints(group.taints))},
        "status": {
            "allocatable": amounts,
            "capacity": dict(amounts),
            "conditions": [{"type": "Ready", "status": "True", "reason": "Simulated"}],
        },
    }


def _taints(texts: Iterable[str]) -> Iterator[Object]:
    for text in texts:
        head, _, effect = text.rpartition(":")
        key, _, value = head.partition("=")
        yield {"key": key, "effect": effect, **({"value": value} if value else {})}


def _slices(vendor: SimulatedVendor) -> Iterator[ResourceSlice]:
    """What the node's driver would publish, before anything was published."""
    pool = Pool(vendor.driver, vendor.node, vendor.node)
    plan = compute_plan(pool, (), compute_layout(vendor.probe(), {}), mark="simulated")
    for write in plan.writes:
        yield RESOURCE_SLICES.identified(write.slice)
