"""A gang as the search sees it: its groups as parts, with their pods by shape and how many of them must be placed.

Slices become parts of their own, so that there is one rule for all: the pods of a part share a domain of each of its
levels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.scheduling.gangs.model import Gang, Group, Topology
from fairlead.scheduling.snapshot import PodView, Shape

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Pods of one shape in one part, in order of index."""

    shape: Shape
    pods: tuple[PodView, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A group of the gang, or a slice of one."""

    number: int
    """Its place in a walk over all parts, parents first."""
    kind: int
    """The same for parts that are alike in all that matters to a search."""
    name: str
    topology: Topology
    batches: tuple[Batch, ...]
    """Its own pods."""
    parts: tuple[Part, ...]
    is_slice: bool
    least_parts: int
    """How many of its parts, slices apart, must be placed."""
    need: int
    """How many pods must get nodes for it to be placed, those of its parts included."""
    size: int
    """How many pods may get nodes."""
    shapes: Mapping[Shape, int]
    """How many of them are of each shape."""
    bound: tuple[str, ...]
    """Nodes of its pods that have one."""

    @property
    def is_possible(self) -> bool:
        """Whether there are as many pods as it needs."""
        return self.need <= self.size

    def must(self, shape: Shape, target: int) -> int:
        """How many pods of a shape are among any `target` pods of the part, at least."""
        return max(0, target - (self.size - self.shapes.get(shape, 0)))


def divide(gang: Gang) -> Part:
    """The parts of a gang; pods that wait for something are left out."""
    return _Divider().part(gang.root)


class _Divider:
    def __init__(self) -> None:
        self._count = 0
        self._kinds: dict[Any, int] = {}

    def part(self, group: Group) -> Part:
        number = self._next()
        topology = group.topology
        pods = tuple(pod for pod in group.pods if not pod.waits_for)
        slices = topology.slice_size > 0 and bool(topology.slice_level)
        own = () if slices else _batches(pods)
        parts = tuple(self.part(each) for each in group.groups)
        least = len(parts) if group.minimum_groups is None else min(group.minimum_groups, len(parts))
        if slices:
            inside = Topology((topology.slice_level,), arrangement=topology.arrangement, over=topology.over)
            cut = _slices(pods, group.bound, topology.slice_size)
            parts += tuple(self._slice(f"{group.name}[{i}]", inside, *each) for i, each in enumerate(cut))
        bound = tuple(pod.node for pod in group.all_bound)
        return self._make(number, group.name, topology, own, parts, least, group.minimum - len(bound), bound)

    def _slice(self, name: str, topology: Topology, pods: Sequence[PodView], bound: Sequence[PodView]) -> Part:
        nodes = tuple(pod.node for pod in bound)
        return self._make(self._next(), name, topology, _batches(pods), (), 0, 0, nodes, is_slice=True)

    def _make(
        self,
        number: int,
        name: str,
        topology: Topology,
        own: tuple[Batch, ...],
        parts: tuple[Part, ...],
        least: int,
        minimum: int,
        bound: tuple[str, ...],
        *,
        is_slice: bool = False,
    ) -> Part:
        needs = sorted(part.need for part in parts if not part.is_slice)
        need = max(0, minimum, sum(needs[:least]))
        shapes: dict[Shape, int] = {}
        for batch in own:
            shapes[batch.shape] = shapes.get(batch.shape, 0) + len(batch.pods)
        for part in parts:
            for shape, count in part.shapes.items():
                shapes[shape] = shapes.get(shape, 0) + count
        like = (
            topology,
            tuple((batch.shape, len(batch.pods)) for batch in own),
            tuple(part.kind for part in parts),
            is_slice,
            least,
            need,
            bound,
        )
        kind = self._kinds.setdefault(like, len(self._kinds))
        size = sum(shapes.values())
        return Part(number, kind, name, topology, own, parts, is_slice, least, need, size, shapes, bound)

    def _next(self) -> int:
        self._count += 1
        return self._count - 1


def _batches(pods: Sequence[PodView]) -> tuple[Batch, ...]:
    by_shape: dict[Shape, list[PodView]] = {}
    for pod in pods:
        by_shape.setdefault(pod.shape, []).append(pod)
    return tuple(Batch(shape, tuple(each)) for shape, each in by_shape.items())


def _slices(pods: Sequence[PodView], bound: Sequence[PodView], size: int) -> list[tuple[list[PodView], list[PodView]]]:
    """The pods that need nodes and those that have them, slice by slice. Where some have nodes, the order of all is
    that of their names: the index of a pod is in it."""
    everyone = [*pods, *bound]
    if bound:
        everyone.sort(key=_by_index)
    nodeless = {pod.uid for pod in pods}
    cut = [everyone[i : i + size] for i in range(0, len(everyone), size)]
    return [
        ([pod for pod in each if pod.uid in nodeless], [pod for pod in each if pod.uid not in nodeless]) for each in cut
    ]


def _by_index(pod: PodView) -> list[tuple[int, str]]:
    """Sorts names as people count: worker-9 before worker-10."""
    return [(int(piece), "") if piece.isdigit() else (0, piece) for piece in _DIGITS.split(pod.name)]
