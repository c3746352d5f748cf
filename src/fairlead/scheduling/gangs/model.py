"""Gangs as values: pods that are placed together or not at all, in a tree of groups with a topology of their own.

A pod without a group is a gang of one. Every source (PodGroup, LeaderWorkerSet, annotations …) becomes this.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from fairlead.scheduling.snapshot import PodView


@dataclass(frozen=True, slots=True)
class Topology:
    """Where the pods of a group go relative to each other. Levels are node labels."""

    required: tuple[str, ...] = ()
    """All pods of the group share the value of each of these labels."""
    preferred: tuple[str, ...] = ()
    """The same, wished for: the first is the most important, later ones are given up first."""
    arrangement: Literal["pack", "spread"] = "pack"
    """Whether nodes (of `over`, domains) are filled one after the other or evenly."""
    over: str = ""
    """The level over which to spread; hosts where empty."""
    slice_size: int = 0
    """Pods in order are cut into slices of this many, each of which lies in one domain of `slice_level`; 0 for none."""
    slice_level: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Pods and groups within a gang."""

    name: str
    pods: tuple[PodView, ...] = ()
    """Its own pods that still need a node, in order of index."""
    groups: tuple[Group, ...] = ()
    minimum: int = 0
    """How many pods, its own and those of its groups, must have nodes; further ones are welcome. Bound ones count."""
    minimum_groups: int | None = None
    """How many of its groups must be placed (each with its own minimum); None for all."""
    topology: Topology = Topology()
    bound: tuple[PodView, ...] = ()
    """Its own pods that have nodes already: they count, and the topology is theirs too."""

    def walk(self) -> Iterator[Group]:
        """This group and all below it."""
        yield self
        for group in self.groups:
            yield from group.walk()

    def only(self, uids: Container[str]) -> Group:
        """Of the pods that need a node only these."""
        pods = tuple(pod for pod in self.pods if pod.uid in uids)
        return replace(self, pods=pods, groups=tuple(group.only(uids) for group in self.groups))

    @property
    def all_pods(self) -> tuple[PodView, ...]:
        if not self.groups:
            return self.pods
        return tuple(pod for group in self.walk() for pod in group.pods)

    @property
    def all_bound(self) -> tuple[PodView, ...]:
        if not self.groups:
            return self.bound
        return tuple(pod for group in self.walk() for pod in group.bound)


@dataclass(frozen=True, slots=True, eq=False)
class Gang:
    """What is scheduled, preempted and explained as one."""

    namespace: str
    name: str
    root: Group
    kind: str = "Pod"
    """What describes it: Pod, PodGroup, CompositePodGroup, LeaderWorkerSet, ModelService, Job, Annotations (our own),
    KAI PodGroup, Volcano PodGroup, Coscheduling PodGroup or Kueue pod group."""
    queue: str = ""
    """The queue that it says it belongs to; "" for the default one."""
    priority: int = 0
    created_s: float = 0.0
    waits_for: str = ""
    """Why it cannot be placed yet whatever the nodes are ("waits for 3 more pods"); empty if nothing."""
    is_preemptible: bool = True
    disruption: Literal["all", "surplus"] = "surplus"
    """What an eviction takes: always all of it, or pods beyond the minimum one by one and then the rest at once."""
    recovery: Literal["gang", "member"] = "gang"
    """What a lost pod costs: the whole gang anew, or one replacement."""
    key: str = field(init=False)
    """As sentences name it, and no other gang: `batch/p-1` is a pod, `PodGroup batch/p-1` is not."""

    def __post_init__(self) -> None:
        kind = _WORDS.get(self.kind, f"{self.kind} ")
        object.__setattr__(self, "key", f"{kind}{self.namespace}/{self.name}")

    def only(self, uids: Container[str]) -> Gang:
        """The gang as if of its pods that need a node only these were there."""
        return replace(self, root=self.root.only(uids))

    @property
    def identity(self) -> tuple[str, str, str]:
        """What no other gang shares: a pod and a group may have the same name."""
        return self.kind, self.namespace, self.name

    @property
    def pods(self) -> tuple[PodView, ...]:
        return self.root.all_pods

    @property
    def bound(self) -> tuple[PodView, ...]:
        return self.root.all_bound

    @property
    def is_single(self) -> bool:
        """Whether it is one plain pod."""
        return self.kind == "Pod"


_WORDS = {"Pod": "", "Annotations": "gang "}


def gang_of_one(pod: PodView, queue: str = "") -> Gang:
    """A pod that belongs to no group."""
    here, there = ((), (pod,)) if pod.node else ((pod,), ())
    return Gang(
        pod.namespace,
        pod.name,
        Group(pod.name, here, minimum=1, bound=there),
        queue=queue,
        priority=pod.priority,
        created_s=pod.created_s,
        waits_for=pod.waits_for,
    )
