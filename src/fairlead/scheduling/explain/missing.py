"""How many devices are missing: in the nearest domain for a gang, on the nearest node for a pod."""

from __future__ import annotations

from fairlead.scheduling.explain.nearest import NearestMiss
from fairlead.scheduling.explain.relaxed import device_requests
from fairlead.scheduling.explain.remedies import Remedy
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fragmentation import most_on_a_node
from fairlead.scheduling.gangs.model import Gang


def more_devices(fleet: Fleet, gang: Gang, nearest: NearestMiss | None) -> tuple[Remedy, ...]:
    """What would have to be freed or added of each class, as devices are counted; nothing where none is missing."""
    if nearest is not None:
        short = [each for each in nearest.shortages if each.free < each.wanted]
        return tuple(_more(each.wanted - each.free, each.name, f"in {nearest.place}") for each in short)
    if not gang.is_single:
        return ()
    found = []
    for _, request in device_requests(gang.pods[0].shape):
        wanted, name = request.count or 1, request.device_class_name
        node, most = most_on_a_node(fleet, name, wanted)
        if most < wanted:
            found.append(_more(wanted - most, name, f"on {node}" if node else "on one node"))
    return tuple(found)


def _more(count: int, device_class: str, where: str) -> Remedy:
    return Remedy("more", f"free or add {count} {device_class} {where}")
