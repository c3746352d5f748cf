"""How usable what is free is: per device class, how much of it sits where sets of the usual sizes do not fit any more.

A node has room for so many sets of a size at once as the allocator can give out; free devices beyond are *stranded* for
that size. The *fragmentation index* is the expected share of free devices that is stranded, over sets of each size: the
measure of "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent" (Weng et al.,
USENIX ATC 2023) with equally frequent sizes in place of a task mix, counting what is left over also on nodes where some
sets fit. A node counts for the sizes that it could serve when idle: what it never could is no fragmentation. 0: every
free device is in a set; 1: none is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.kube.objects.devices import (
    DeviceClaim,
    DeviceRequest,
    DeviceToleration,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimSpec,
)
from fairlead.kube.objects.meta import ObjectMeta
from fairlead.scheduling.fleet.device_book import Wants
from fairlead.scheduling.fleet.fleet import Fleet

SIZES: Final = (1, 2, 4, 8)
LARGEST: Final = 32
"""As many devices as a claim can hold."""
MOST: Final = 512
"""Of one class on one node: devices that can be shared without limit count as so many."""


@dataclass(frozen=True, slots=True)
class NodeDevices:
    """One class on one node. All counts are of devices that can be allocated side by side."""

    node: str
    total: int
    """When nothing is held; without unhealthy ones."""
    free: int
    unhealthy: int = 0
    """Kept from claims by their taints."""
    sets: Mapping[int, int] | None = None
    """Size -> how many sets of that size fit at once."""
    largest: int = 0
    """The largest set for one claim."""
    serves: frozenset[int] = frozenset()
    """Sizes of which a set fits on the node when nothing is held."""
    is_blocked: bool = False
    """Whether no pod can come to the node (cordoned, or as many pods as it takes)."""

    @property
    def held(self) -> int:
        return max(0, self.total - self.free)

    def stranded(self, size: int) -> int:
        """Free devices that are in no set of this size."""
        if self.is_blocked:
            return self.free
        return max(0, self.free - size * (self.sets or {}).get(size, 0))


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One device class in a fleet."""

    name: str
    nodes: tuple[NodeDevices, ...]
    """Nodes that have devices of the class, by name."""
    domains: Mapping[str, int]
    """Domain of the level that was asked for -> free devices in it, blocked nodes left out."""

    @property
    def total(self) -> int:
        return sum(each.total for each in self.nodes)

    @property
    def free(self) -> int:
        return sum(each.free for each in self.nodes)

    @property
    def held(self) -> int:
        return sum(each.held for each in self.nodes)

    @property
    def unhealthy(self) -> int:
        return sum(each.unhealthy for each in self.nodes)

    @property
    def blocked(self) -> int:
        """Free devices on nodes that take no pods."""
        return sum(each.free for each in self.nodes if each.is_blocked)

    def stranded(self, size: int) -> int:
        return sum(each.stranded(size) for each in self.nodes)

    @property
    def largest(self) -> NodeDevices | None:
        """The node with the largest set."""
        open_nodes = [each for each in self.nodes if not each.is_blocked and each.largest]
        return max(open_nodes, key=lambda each: each.largest, default=None)

    @property
    def largest_domain(self) -> tuple[str, int] | None:
        """The domain with the most free devices."""
        return max(self.domains.items(), key=lambda each: each[1], default=None)

    @property
    def index(self) -> float | None:
        """The fragmentation index; None where nothing is free."""
        return fragmentation_index(self.nodes)


def fragmentation_index(nodes: Iterable[NodeDevices], sizes: Sequence[int] = SIZES) -> float | None:
    """The share of free devices that is stranded, over all sizes together; None where nothing is free."""
    pairs = [(node, size) for node in nodes for size in sizes if size in node.serves]
    free = sum(node.free for node, _ in pairs)
    return sum(node.stranded(size) for node, size in pairs) / free if free else None


def class_report(fleet: Fleet, device_class: str, level: str) -> ClassReport:
    """The class as it is now; `level` is the topology level whose domains are compared (racks)."""
    questions = _Questions.of(fleet, device_class)
    nodes: list[NodeDevices] = []
    domains: dict[str, int] = {}
    for row, node in enumerate(fleet.nodes):
        if node is None:
            continue
        seen = questions.ask(fleet, node.name, is_blocked=node.unschedulable or fleet.free(row, "pods") < 1)
        if seen is None:
            continue
        nodes.append(seen)
        value = node.value(level)
        if value is not None and not seen.is_blocked:
            domains[value] = domains.get(value, 0) + seen.free
    return ClassReport(device_class, tuple(sorted(nodes, key=lambda each: each.node)), domains)


def class_reports(fleet: Fleet, device_classes: Iterable[str], level: str) -> list[ClassReport]:
    """The classes that any node has devices of."""
    reports = (class_report(fleet, name, level) for name in device_classes)
    return [report for report in reports if report.nodes]


@dataclass(frozen=True, slots=True)
class _Questions:
    """What is asked of every node about one class: alike claims share their answers among alike nodes."""

    one: Wants
    one_tolerant: Wants
    sets: Mapping[int, Wants]

    @staticmethod
    def of(fleet: Fleet, device_class: str) -> _Questions:
        book = fleet.devices
        return _Questions(
            book.wants((class_claim(device_class, 1),)),
            book.wants((class_claim(device_class, 1, tolerates=True),)),
            {size: book.wants((class_claim(device_class, size),)) for size in _sizes(range(1, LARGEST + 1))},
        )

    def ask(self, fleet: Fleet, node: str, *, is_blocked: bool) -> NodeDevices | None:
        book = fleet.devices
        everything = book.idle_room(self.one_tolerant, node, MOST)
        if not everything:
            return None
        total = book.idle_room(self.one, node, MOST)
        free = book.room(self.one, node, MOST)
        sets = {size: book.room(self.sets[size], node, MOST) if size <= free else 0 for size in SIZES}
        serves = frozenset(size for size in SIZES if book.idle_room(self.sets[size], node, 1))
        largest = self._largest(fleet, node, free)
        return NodeDevices(node, total, free, max(0, everything - total), sets, largest, serves, is_blocked)

    def _largest(self, fleet: Fleet, node: str, free: int) -> int:
        """By halving: who can have some can have fewer."""
        low, high = 0, min(free, LARGEST)
        while low < high:
            middle = (low + high + 1) // 2
            if fleet.devices.room(self.sets[middle], node, 1):
                low = middle
            else:
                high = middle - 1
        return low


def _sizes(more: Iterable[int]) -> Sequence[int]:
    return sorted({*SIZES, *more})


def most_on_a_node(fleet: Fleet, device_class: str, limit: int) -> tuple[str, int]:
    """The node that can give most of a class to one claim, and how many, at most `limit`."""
    book = fleet.devices
    names = [node.name for node in fleet.nodes if node is not None and not node.unschedulable]
    for count in range(limit, 0, -1):
        wants = book.wants((class_claim(device_class, count),))
        for name in names:
            if book.room(wants, name, 1):
                return name, count
    return "", 0


def class_claim(device_class: str, count: int, *, tolerates: bool = False) -> ResourceClaim:
    """A claim for so many devices of a class, whatever they are; `tolerates` tainted ones, too."""
    exactly = ExactDeviceRequest(
        allocation_mode="ExactCount",
        count=count,
        device_class_name=device_class,
        tolerations=(DeviceToleration(operator="Exists"),) if tolerates else (),
    )
    devices = DeviceClaim(requests=(DeviceRequest(name="devices", exactly=exactly),))
    return ResourceClaim(metadata=ObjectMeta(name="devices"), spec=ResourceClaimSpec(devices=devices))
