"""Nodes with devices, and claims for them, for tests of the device book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.fleet.device_book import DeviceBook, Offer, Wants
from scheduling.allocator.allocator_objects import DRIVER, consumes, device, request, slice_of

POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
GPU = "gpu"


def device_class(name: str = "any", expression: str = "") -> DeviceClass:
    selectors = [{"cel": {"expression": expression}}] if expression else []
    return msgspec.convert({"metadata": {"name": name}, "spec": {"selectors": selectors}}, DeviceClass)


def node_slice(node: str, devices: Sequence[Mapping[str, Any]], **fields: Any) -> ResourceSlice:
    """A slice of the node's own devices, in a pool named like it."""
    fields = {"name": f"{node}-slice", "pool": node, "nodeName": node} | fields
    return msgspec.convert(slice_of(devices, **fields), ResourceSlice)


def gpus(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [device(f"gpu-{i}", attributes={"uuid": f"u-{i}", "root": i // 2}, **fields) for i in range(count)]


def halves(node: str, cards: int = 2, generation: int = 1) -> list[ResourceSlice]:
    """Cards of two halves over shared counters: the counters in one slice, the devices in another."""
    sets = [{"name": f"card{i}", "counters": {"pes": {"value": "2"}}} for i in range(cards)]
    parts = []
    for i in range(cards):
        for name, pes in ((f"card{i}", "2"), (f"card{i}-0", "1"), (f"card{i}-1", "1")):
            used = [{**each, "counterSet": f"card{i}"} for each in consumes(pes=pes)]
            kind = "half" if "-" in name else "card"
            parts.append(device(name, attributes={"kind": kind}, consumesCounters=used))
    where: dict[str, Any] = {"pool": node, "nodeName": node, "count": 2, "generation": generation}
    made = [
        slice_of(name=f"{node}-counters", sharedCounters=sets, **where),
        slice_of(parts, name=f"{node}-devices", **where),
    ]
    return msgspec.convert(made, list[ResourceSlice])


def claim_of(name: str, *requests: Mapping[str, Any], pod_claim: str = GPU, **devices: Any) -> ResourceClaim:
    """A claim as a template makes it."""
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": "default", "uid": name, "annotations": {POD_CLAIM: pod_claim}},
            "spec": {"devices": {"requests": list(requests) or [request()], **devices}},
        },
        ResourceClaim,
    )


def book_of(nodes: Mapping[str, Sequence[ResourceSlice]], *classes: DeviceClass, **options: Any) -> DeviceBook:
    book = DeviceBook(**options)
    for known in classes or (device_class(),):
        book.set_class(known)
    for node, slices in nodes.items():
        book.set_node(node, {"kubernetes.io/hostname": node})
        for each in slices:
            book.set_slice(each)
    return book


def take(book: DeviceBook, claim: ResourceClaim, node: str) -> tuple[str, ...] | None:
    """The devices that the claim got, held from now on; None where it got none."""
    wants = book.wants([claim])
    offer = book.offer(wants, node)
    if not isinstance(offer, Offer):
        return None
    book.take(wants, node, offer, [claim])
    return tuple(each.device for each in book.held_by(claim.metadata.uid))


__all__ = ["DRIVER", "Wants", "book_of", "claim_of", "device_class", "gpus", "halves", "node_slice", "take"]
