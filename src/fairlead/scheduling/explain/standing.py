"""What a pod has where it stands, or would have: node, devices, how these lie to each other, what is left there.

And what speaks for it: what the devices cost by the measure of the `best` mode, and what they would cost elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Final

from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.allocator.devices import DeviceId, PreparedDevice
from fairlead.scheduling.allocator.links import CLOSEST, distance, spot_of
from fairlead.scheduling.explain.neighbours import classes_of
from fairlead.scheduling.fleet.device_offers import Offer
from fairlead.scheduling.fleet.fleet import ClaimState, Fleet
from fairlead.scheduling.fleet.options import NOWHERE, Outlook
from fairlead.scheduling.fragmentation import MOST, class_claim
from fairlead.scheduling.snapshot import PodView, Shape
from fairlead.scheduling.verdict import Assignment

_NEARNESS: Final = (
    ("fairlead.dev/pcieSwitch", "PCIe switch"),
    ("resource.kubernetes.io/pcieRoot", "PCIe root"),
    ("resource.kubernetes.io/numaNode", "NUMA node"),
    ("fairlead.dev/socket", "socket"),
)
"""Attributes that devices near each other have in common, the closest first."""
_MOST_ALTERNATIVES: Final = 3


@dataclass(frozen=True, slots=True)
class ClaimDevices:
    """The devices of one claim."""

    claim: str
    devices: tuple[DeviceId, ...]
    nearness: str = ""
    """What they have in common: "one PCIe switch"; "" for a single device or where drivers tell nothing."""
    link_score: float | None = None
    """The mean score of their pairs, 70 for the closest (see `allocator.links`); None for a single device."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """What devices for the same claims cost: here, and where they are cheapest elsewhere."""

    here: Cost
    elsewhere: str = ""
    cost_elsewhere: Cost | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A pod and its node."""

    pod: str
    node: str
    claims: tuple[ClaimDevices, ...] = ()
    left: Mapping[str, int] = field(default_factory=dict)
    """Class of its devices -> how many more of them can be had on the node."""
    weighing: Weighing | None = None
    """None where it has no devices of its own, or the first that do are taken (`upstream` mode)."""
    alternatives: tuple[str, ...] = ()
    """The next best nodes."""
    fitting: int = 0
    """How many nodes would have done, this one included; 0 where that was not asked."""


def place_of(fleet: Fleet, pod: PodView, node: str, allocations: Mapping[str, AllocationResult]) -> Place:
    """A pod that is on the node with these allocations of its claims, by name."""
    known = {device.id: device for device in fleet.devices.devices_of(node)}
    claims = tuple(_claim_devices(name, result, known) for name, result in allocations.items())
    states = (fleet.claims.get((pod.namespace, name)) for name in allocations)
    return Place(pod.full_name, node, claims, _left(fleet, node, [state for state in states if state is not None]))


def standing_place(fleet: Fleet, pod: PodView) -> Place | None:
    """Where a pod is, bound or decided; None for one that stands nowhere."""
    standing = fleet.pods.get(pod.uid)
    node = fleet.nodes[standing.row] if standing is not None else None
    if node is None:
        return None
    states = {name: fleet.claims.get((pod.namespace, name)) for name in pod.claims}
    given = {name: state.allocation for name, state in states.items() if state is not None and state.allocation}
    place = place_of(fleet, pod, node.name, given)
    with fleet.trial():
        fleet.lift(pod.uid, frees_claims=True)
        lacking = [state.claim for state in states.values() if state is not None and state.allocation is None]
        return replace(place, weighing=weigh(fleet, lacking, node.name))


def assigned_places(outlook: Outlook, assignments: Sequence[Assignment]) -> tuple[Place, ...]:
    """Where pods would go that the fleet does not hold, and for the first of each shape which nodes are next best."""
    fleet = outlook.fleet
    ranked: dict[Shape, list[str]] = {}
    weighings: list[Weighing | None] = []
    made: list[Place] = []
    with fleet.trial():
        for each in assignments:
            first = each.pod.shape not in ranked
            if first:
                ranked[each.pod.shape] = _ranked(outlook, each.pod.shape)
            claims = each.pod.shape.own_claims
            weighings.append(weigh(fleet, claims, each.node) if first else None)
            fleet.place(each.pod, fleet.row_of[each.node])
        for each, weighing in zip(assignments, weighings, strict=True):
            place = replace(place_of(fleet, each.pod, each.node, each.allocations), weighing=weighing)
            names = ranked.pop(each.pod.shape, None)
            if names is not None:
                others = tuple(name for name in names if name != each.node)[:_MOST_ALTERNATIVES]
                place = replace(place, alternatives=others, fitting=len(names))
            made.append(place)
    return tuple(made)


def weigh(fleet: Fleet, claims: Sequence[ResourceClaim], node: str) -> Weighing | None:
    """What devices for the claims, which have none, would cost now on the node and elsewhere."""
    book = fleet.devices
    if not claims or book.mode != "best":
        return None
    wants = book.wants(tuple(claims))
    costs = {
        each.name: offer.cost
        for each in fleet.nodes
        if each is not None and isinstance(offer := book.offer(wants, each.name), Offer)
    }
    here = costs.pop(node, None)
    if here is None:
        return None
    cheapest = min(costs, key=lambda name: (costs[name], name), default="")
    return Weighing(here, cheapest, costs.get(cheapest))


def link_score(devices: Sequence[PreparedDevice]) -> float | None:
    """The mean score of all pairs; None for fewer than two devices."""
    spots = [spot_of(device) for device in devices]
    scores = [CLOSEST - distance(one, other) for one, other in combinations(spots, 2)]
    return sum(scores) / len(scores) if scores else None


def nearness(devices: Sequence[PreparedDevice]) -> str:
    """The closest thing that all devices have in common, or over how many they are spread."""
    if len(devices) < 2:
        return ""
    spread = ""
    for attribute, word in _NEARNESS:
        values = [device.attribute(attribute, lists=False) for device in devices]
        if any(value is None for value in values):
            continue
        different = len(set(values))
        if different == 1:
            return f"one {word}"
        spread = f"{different} {word}s"
    return spread


def _ranked(outlook: Outlook, shape: Shape) -> list[str]:
    """Nodes that fit the shape, the best first."""
    scores = outlook.of(shape).scores
    rows = sorted((row for row in range(len(scores)) if scores[row] > NOWHERE), key=lambda row: (-scores[row], row))
    return [node.name for row in rows if (node := outlook.fleet.nodes[row]) is not None]


def _claim_devices(name: str, result: AllocationResult, known: Mapping[DeviceId, PreparedDevice]) -> ClaimDevices:
    results = result.devices.results if result.devices is not None else ()
    ids = tuple(DeviceId(each.driver, each.pool, each.device) for each in results)
    devices = [known[each] for each in ids if each in known]
    if len(devices) < len(ids):
        return ClaimDevices(name, ids)
    return ClaimDevices(name, ids, nearness(devices), link_score(devices))


def _left(fleet: Fleet, node: str, claims: Iterable[ClaimState]) -> dict[str, int]:
    names = dict.fromkeys(name for state in claims for name in classes_of(state.claim).values() if name)
    book = fleet.devices
    return {name: book.room(book.wants((class_claim(name, 1),)), node, MOST) for name in names}
