"""What a pod has where it stands, or would have: node, devices, how these lie to each other, what is left there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.allocator.devices import DeviceId, PreparedDevice
from fairlead.scheduling.explain.neighbours import classes_of
from fairlead.scheduling.fleet.fleet import ClaimState, Fleet
from fairlead.scheduling.fleet.options import NOWHERE, Outlook
from fairlead.scheduling.fragmentation import MOST, class_claim
from fairlead.scheduling.snapshot import PodView
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
    devices: tuple[str, ...]
    """As `driver/pool/device`."""
    nearness: str = ""
    """What they have in common: "one PCIe switch"; "" for a single device or where drivers tell nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A pod and its node."""

    pod: str
    node: str
    claims: tuple[ClaimDevices, ...] = ()
    left: Mapping[str, int] = field(default_factory=dict)
    """Class of its devices -> how many more of them can be had on the node."""
    alternatives: tuple[str, ...] = ()
    """The next best nodes."""
    fitting: int = 0
    """How many nodes would have done, this one included; 0 where that was not asked."""


def place_of(fleet: Fleet, pod: PodView, node: str, allocations: Mapping[str, AllocationResult]) -> Place:
    """`allocations` are those of its claims by name."""
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
    return place_of(fleet, pod, node.name, given)


def assigned_place(outlook: Outlook, assignment: Assignment) -> Place:
    """Where a pod would go, and which nodes are next best; asked of the fleet without it, as is what its node has left."""
    fleet, pod = outlook.fleet, assignment.pod
    made = place_of(fleet, pod, assignment.node, assignment.allocations)
    scores = outlook.of(pod.shape).scores
    order = sorted((row for row in range(len(scores)) if scores[row] > NOWHERE), key=lambda row: (-scores[row], row))
    names = [node.name for row in order if (node := fleet.nodes[row]) is not None]
    others = tuple(name for name in names if name != assignment.node)[:_MOST_ALTERNATIVES]
    return Place(made.pod, made.node, made.claims, made.left, others, len(names))


def _claim_devices(name: str, result: AllocationResult, known: Mapping[DeviceId, PreparedDevice]) -> ClaimDevices:
    results = result.devices.results if result.devices is not None else ()
    ids = [DeviceId(each.driver, each.pool, each.device) for each in results]
    devices = [known[each] for each in ids if each in known]
    return ClaimDevices(name, tuple(map(str, ids)), nearness(devices) if len(devices) == len(ids) else "")


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


def _left(fleet: Fleet, node: str, claims: Iterable[ClaimState]) -> dict[str, int]:
    names = dict.fromkeys(name for state in claims for name in classes_of(state.claim).values() if name)
    book = fleet.devices
    return {name: book.room(book.wants((class_claim(name, 1),)), node, MOST) for name in names}
