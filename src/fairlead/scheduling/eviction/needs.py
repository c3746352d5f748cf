"""What a gang needs at least: the pods that must have a node, by group, with the topology that binds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.snapshot import PodView, Shape


@dataclass(frozen=True, slots=True)
class Need:
    """Pods that go to one domain of each of the levels."""

    levels: tuple[str, ...]
    pods: tuple[PodView, ...]
    parts: tuple[Need, ...] = ()
    anchors: tuple[PodView, ...] = ()
    """Pods that have nodes already: the domain is theirs."""

    @property
    def size(self) -> int:
        return len(self.pods) + sum(part.size for part in self.parts)

    @property
    def all_pods(self) -> tuple[PodView, ...]:
        return (*self.pods, *(pod for part in self.parts for pod in part.all_pods))

    @property
    def only_shape(self) -> Shape | None:
        """The shape of all pods, where they are alike and nothing but the levels of the whole binds them; else None."""
        if self.parts:
            return None
        shapes = {pod.shape for pod in self.pods}
        return next(iter(shapes)) if len(shapes) == 1 else None

    def shapes(self) -> list[tuple[Shape, tuple[PodView, ...]]]:
        """Its own pods by shape, those that ask for the most first: what is large finds no room later."""
        by_shape: dict[Shape, list[PodView]] = {}
        for pod in self.pods:
            by_shape.setdefault(pod.shape, []).append(pod)
        found = [(shape, tuple(pods)) for shape, pods in by_shape.items()]
        return sorted(found, key=lambda item: _size(item[0]), reverse=True)


def need_of(gang: Gang) -> Need:
    """The least that must be placed."""
    return _need(gang.root)


def _need(group: Group) -> Need:
    parts = [part for part in map(_need_of_part, _chosen(group)) if part is not None]
    chosen = {pod.uid for part in parts for pod in part.all_pods}
    missing = group.minimum - len(group.all_bound) - len(chosen)
    own: list[PodView] = []
    if missing > 0:
        others = (pod for part in group.groups for pod in part.all_pods if pod.uid not in chosen)
        own = _least([*group.pods, *others], missing)
    topology = group.topology
    if topology.slice_size and topology.slice_level and own:
        parts += _slices(own, topology.slice_size, topology.slice_level)
        own = []
    return Need(topology.required, tuple(own), tuple(parts), group.all_bound if topology.required else ())


def _least(pods: Sequence[PodView], count: int) -> list[PodView]:
    """So many of the pods, those first that ask for the least: whichever of them are placed, they are enough."""
    able = [pod for pod in pods if not pod.waits_for]
    return able[:count] if len({pod.shape for pod in able}) == 1 else sorted(able, key=lambda p: _size(p.shape))[:count]


def _size(shape: Shape) -> tuple[int, ...]:
    """By which shapes are compared where they differ: devices and the like are asked for in small numbers."""
    demand = shape.demand
    scarce = sum(amount for name, amount in demand.items() if "/" in name)
    return scarce, demand.get("memory", 0), demand.get("cpu", 0)


def _need_of_part(group: Group) -> Need | None:
    need = _need(group)
    return need if need.size else None


def _chosen(group: Group) -> list[Group]:
    """The groups that must be placed: all, or as many as needed, those first that lack the least."""
    if group.minimum_groups is None:
        return list(group.groups)
    lacking = sorted(group.groups, key=lambda part: _need(part).size)
    return lacking[: group.minimum_groups]


def _slices(pods: Sequence[PodView], size: int, level: str) -> list[Need]:
    return [Need((level,), tuple(pods[at : at + size])) for at in range(0, len(pods), size)]
