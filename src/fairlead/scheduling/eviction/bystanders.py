"""Running gangs that could make room for another, and what may be taken of them: never a part that cannot be alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from fairlead.scheduling.eviction.cost import Price, price_of
from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.snapshot import PodView


@dataclass(frozen=True, slots=True, eq=False)
class Bystander:
    """A gang with pods on nodes. Made once and kept as long as the gang is the same: what is derived is remembered."""

    gang: Gang
    queue: str = ""
    """The queue that it runs in, as people know it; the one that the gang names where empty."""
    is_ours: bool = True
    """Whether this scheduler places its pods. Where others put theirs when they are made anew is not known."""
    pods: tuple[PodView, ...] = field(init=False)
    """Those that stand and are not leaving already."""
    surplus: tuple[PodView, ...] = field(init=False)
    """Those of which each one alone could leave and the gang would still stand."""
    price: Price = field(init=False)
    started_s: float | None = field(init=False)
    """When the first of them began to run; None where none has."""
    yields: bool = field(init=False)
    """Whether it gives way to serving."""
    is_pinned: bool = field(init=False)
    """Whether one of them belongs to its node: a static pod, or one of a DaemonSet."""

    def __post_init__(self) -> None:
        gang = self.gang
        pods = tuple(pod for pod in gang.bound if not pod.is_leaving)
        started = [pod.started_s for pod in pods if pod.started_s is not None]
        derived = {
            "queue": self.queue or gang.queue,
            "pods": pods,
            "surplus": _surplus(gang, pods),
            "price": price_of(pods),
            "started_s": min(started) if started else None,
            "yields": yields(gang),
            "is_pinned": any(pod.facts is not None and pod.facts.is_mirror_or_daemon for pod in pods),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def without(self, told: AbstractSet[str]) -> Bystander:
        """The same where pods with these uids are as good as gone."""
        return Bystander(replace(self.gang, root=_leaving(self.gang.root, told)), self.queue, self.is_ours)

    @property
    def holder(self) -> str:
        """Who it is in a count of who holds what: its queue, or itself where it is in none."""
        return self.queue or self.gang.key


def serves(gang: Gang) -> bool:
    """Whether its pods serve requests (`fairlead.dev/work: serving`), all of them."""
    return _all_work(gang, "serving")


def yields(gang: Gang) -> bool:
    """Whether a gang is batch work that may use what is idle of others' quotas, and gives way to serving."""
    return gang.is_preemptible and _all_work(gang, "batch")


def _all_work(gang: Gang, work: str) -> bool:
    pods = (*gang.pods, *gang.bound)
    return bool(pods) and all(pod.facts is not None and pod.facts.work == work for pod in pods)


def stands_without(gang: Gang, gone: Collection[str]) -> bool:
    """Whether what stays of a gang when the pods with these uids are gone is a whole: enough of every group, or nothing
    of a group that is not needed. False where nothing stays at all.

    Pods that are leaving count as gone.
    """
    left = _left(gang.root, gone)
    return left is not None and left > 0


def _left(group: Group, gone: Collection[str]) -> int | None:
    """Pods of a group that stay; None where they are too few, or those of a group in it."""
    total = sum(1 for pod in group.bound if not pod.is_leaving and pod.uid not in gone)
    standing = 0
    for part in group.groups:
        left = _left(part, gone)
        if left is None:
            return None
        total += left
        standing += left > 0
    if not total:
        return 0
    needed = group.minimum_groups
    if needed is None:
        needed = sum(1 for part in group.groups if part.minimum)
    return None if total < group.minimum or standing < needed else total


def _leaving(group: Group, told: AbstractSet[str]) -> Group:
    bound = tuple(replace(pod, is_leaving=True) if pod.uid in told else pod for pod in group.bound)
    return replace(group, bound=bound, groups=tuple(_leaving(part, told) for part in group.groups))


def _surplus(gang: Gang, pods: Sequence[PodView]) -> tuple[PodView, ...]:
    if gang.disruption == "all" or gang.is_single or len(pods) <= max(1, gang.root.minimum):
        return ()
    return tuple(pod for pod in pods if stands_without(gang, (pod.uid,)))
