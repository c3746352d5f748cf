"""The fleet as arrays: what is free by row, the domains of the rows, and how many pods of each shape are where.

Shared by the options of all shapes, so that a change is taken in once, and a shape looks at many rows with one
operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.fleet import Change, Fleet
from fairlead.scheduling.snapshot import NodeView, Shape

Integers = npt.NDArray[np.int64]
Indexes = npt.NDArray[np.intp]

MOST: Final = 1 << 61
"""Amounts are cut here, so that differences are integers of 64 bits. No node has so much of anything: `observe` cuts
earlier."""

CPU, MEMORY = 0, 1
"""Indexes of the resources that every fleet has."""

_UNSTATED: Final = {"cpu": 100, "memory": 200 << 20}
"""What a pod without a request counts for in scores: kube-scheduler's `GetNonzeroRequests`, by pod."""


@dataclass(frozen=True, slots=True, eq=False)
class Domains:
    """The domain of every row at one level."""

    of_row: Indexes
    """-1 for a row that is in none."""
    number: int

    def sums(self, by_row: npt.NDArray[np.generic], rows: npt.NDArray[np.bool_] | None = None) -> Integers:
        """By domain: the sum over its rows, those chosen. The last place, for rows in none, is 0."""
        chosen = self.of_row if rows is None else np.where(rows, self.of_row, -1)
        sums = np.bincount(chosen + 1, weights=by_row, minlength=self.number + 1).astype(np.int64)
        return np.append(sums[1:], 0)


class Columns:
    """Call `refresh` before reading, after the fleet may have changed."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.size = 0
        """Rows. Arrays may be longer."""
        self.free: Integers = np.zeros((2, 0), np.int64)
        """By resource and row; less than nothing where too much is taken."""
        self.allocatable: Integers = np.zeros((2, 0), np.int64)
        self.counted: Integers = np.zeros((2, 0), np.int64)
        """By cpu and memory, and row: what is taken, pods without requests at a default."""
        self.devices: Integers = np.zeros(0, np.int64)
        """By row: devices that pods' own claims hold, and extended resources that pods take."""
        self.has_devices: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        """By row: whether the node has devices of its own, in a slice or as an extended resource."""
        self.placed: dict[Shape, dict[int, int]] = {}
        """Pods of a shape, by row."""
        self.image_nodes: Counter[str] = Counter()
        """Image -> nodes that have it."""
        self._image_versions: Counter[str] = Counter()
        self.models: dict[str, dict[int, int]] = {}
        """Name of a model -> bytes of it that a node has, by row."""
        self.node_number = 0
        self._index: dict[str, int] = {"cpu": CPU, "memory": MEMORY}
        self._nodes: list[NodeView | None] = []
        self._read = 0
        self._values: dict[str, dict[str, int]] = {}
        self._domains: dict[str, Domains] = {}

    def resource(self, name: str) -> int:
        """The index of a resource."""
        found = self._index.get(name)
        if found is None:
            found = self._index[name] = len(self._index)
            if found >= len(self.free):
                more = np.zeros((found, self.free.shape[1]), np.int64)
                self.free = np.concatenate((self.free, more))
                self.allocatable = np.concatenate((self.allocatable, more))
            for row in range(self.size):
                self._set_amounts(row, (name,))
        return found

    def image_state(self, names: Iterable[str]) -> tuple[int, ...]:
        """Different whenever there are other nodes that have the images, or another number of nodes."""
        versions = [self._image_versions[name] for name in names]
        return (self.node_number, *versions) if any(versions) else ()

    def domains(self, level: str) -> Domains:
        """The domains of a level."""
        found = self._domains.get(level)
        if found is None:
            values = self._values.setdefault(level, {})
            of_row = np.full(self.size, -1, np.intp)
            for row, node in enumerate(self._nodes):
                value = None if node is None else node.value(level)
                if value is not None:
                    of_row[row] = values.setdefault(value, len(values))
            found = self._domains[level] = Domains(of_row, len(values))
        return found

    def refresh(self) -> None:
        fleet = self.fleet
        fleet.changes()
        end = fleet.log.end
        if end == self._read:
            return
        changes = fleet.log.since(self._read)
        if changes is None or len(changes) > 4 * len(fleet.pods) + 1000:
            self._rebuild()
        else:
            self._grow()
            self._take_in(changes)
        self._read = end

    def _take_in(self, changes: Iterable[Change]) -> None:
        rows: dict[int, None] = {}
        for change in changes:
            row = change.row
            if row >= 0:
                rows[row] = None
                if change.shape is not None:
                    self._count(change.shape, row, change.delta)
                else:
                    self._find_devices(row)
            else:
                for each in range(self.size):
                    self._find_devices(each)
        for row in rows:
            if self.fleet.nodes[row] is not self._nodes[row]:
                self._set_node(row)
            self._set_amounts(row, self.fleet.used[row])

    def _rebuild(self) -> None:
        self._grow()
        self.placed.clear()
        self.counted[:] = 0
        self.devices[:] = 0
        for standing in self.fleet.pods.values():
            self._count(standing.pod.shape, standing.row, 1)
        for row in range(self.size):
            self._find_devices(row)
            self._set_node(row)
            self._set_amounts(row, self.fleet.used[row])

    def _grow(self) -> None:
        size = len(self.fleet.nodes)
        if size == self.size:
            return
        if size > len(self.devices):
            more = max(size, 2 * len(self.devices)) - len(self.devices)
            self.free = np.pad(self.free, ((0, 0), (0, more)))
            self.allocatable = np.pad(self.allocatable, ((0, 0), (0, more)))
            self.counted = np.pad(self.counted, ((0, 0), (0, more)))
            self.devices = np.pad(self.devices, (0, more))
            self.has_devices = np.pad(self.has_devices, (0, more))
        self._nodes.extend([None] * (size - self.size))
        self.size = size
        self._domains.clear()

    def _set_node(self, row: int) -> None:
        before, node = self._nodes[row], self.fleet.nodes[row]
        self._nodes[row] = node
        if (before and before.images) != (node and node.images):
            self._count_images(before, -1)
            self._count_images(node, 1)
        if (before and before.models) != (node and node.models):
            self._note_models(row, before, node)
        self.node_number += (node is not None) - (before is not None)
        for level in list(self._domains):
            if (before and before.value(level)) != (node and node.value(level)):
                del self._domains[level]
        self._set_amounts(row, self._index)

    def _set_amounts(self, row: int, names: Iterable[str]) -> None:
        node, used = self.fleet.nodes[row], self.fleet.used[row]
        offered: Mapping[str, int] = {} if node is None else node.allocatable
        for name in names:
            index = self._index.get(name)
            if index is not None:
                allocatable = min(offered.get(name, 0), MOST)
                self.allocatable[index, row] = allocatable
                self.free[index, row] = allocatable - min(used.get(name, 0), MOST)

    def _count(self, shape: Shape, row: int, delta: int) -> None:
        rows = self.placed.setdefault(shape, {})
        number = rows.get(row, 0) + delta
        if number:
            rows[row] = number
        else:
            del rows[row]
            if not rows:
                del self.placed[shape]
        cpu, memory = counted(shape)
        self.counted[CPU, row] += delta * cpu
        self.counted[MEMORY, row] += delta * memory
        devices = device_number(shape)
        if devices:
            self.devices[row] += delta * devices

    def _find_devices(self, row: int) -> None:
        node = self.fleet.nodes[row]
        self.has_devices[row] = node is not None and (
            self.fleet.devices.has_devices(node.name)
            or any(amount and is_device_resource(name) for name, amount in node.allocatable.items())
        )

    def _count_images(self, node: NodeView | None, delta: int) -> None:
        for name in node.images if node is not None else ():
            self.image_nodes[name] += delta
            self._image_versions[name] += 1

    def _note_models(self, row: int, before: NodeView | None, node: NodeView | None) -> None:
        for name in before.models if before is not None else ():
            rows = self.models[name]
            del rows[row]
            if not rows:
                del self.models[name]
        for name, size in (node.models if node is not None else {}).items():
            self.models.setdefault(name, {})[row] = size


def counted(shape: Shape) -> tuple[int, int]:
    """cpu and memory that a pod counts for in scores."""
    cpu = shape.requests.get("cpu") or _UNSTATED["cpu"]
    memory = shape.requests.get("memory") or _UNSTATED["memory"]
    return min(cpu, MOST >> 20), min(memory, MOST >> 10)


def device_number(shape: Shape) -> int:
    """Devices that a pod of the shape holds alone: by its own claims, and as extended resources."""
    return sum(shape.devices.values()) + sum(
        amount for name, amount in shape.requests.items() if is_device_resource(name)
    )


def is_device_resource(name: str) -> bool:
    """Whether a resource is one that a device plugin offers: with a domain, which is not Kubernetes' own."""
    domain, slash, _ = name.partition("/")
    return bool(slash) and not domain.endswith("kubernetes.io")
