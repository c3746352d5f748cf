"""What is to be written for a gang, from the verdict about it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.commit.claim_edits import Consumer
from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Placed


@dataclass(frozen=True, slots=True)
class ClaimOrder:
    """A claim, what it gets, and the members that use it."""

    namespace: str
    name: str
    allocation: AllocationResult | None
    """None where it has its devices already."""
    consumers: tuple[Consumer, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """A pod, its node, and the volume claims that are to be provided for there."""

    pod: PodView
    node: str
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """All writes for a gang."""

    gang: Gang
    claims: tuple[ClaimOrder, ...]
    bindings: tuple[Binding, ...]

    @property
    def uids(self) -> tuple[str, ...]:
        return tuple(binding.pod.uid for binding in self.bindings)


def order_of(placed: Placed) -> Order:
    """The writes that a verdict asks for."""
    allocations: dict[tuple[str, str], AllocationResult] = {}
    consumers: dict[tuple[str, str], list[Consumer]] = {}
    bindings = []
    for assignment in placed.assignments:
        pod = assignment.pod
        for name, allocation in assignment.allocations.items():
            allocations[pod.namespace, name] = allocation
        for name in pod.claims:
            consumers.setdefault((pod.namespace, name), []).append(Consumer(pod.name, pod.uid))
        bindings.append(Binding(pod, assignment.node, pod.late_volumes))
    claims = (ClaimOrder(*key, allocations.get(key), tuple(users)) for key, users in consumers.items())
    return Order(placed.gang, tuple(claims), tuple(bindings))


def stands(group: Group, bound: Collection[str]) -> bool:
    """Whether a group has all that it must have, with only these pods (uids) on nodes."""
    count = sum(pod.uid in bound for pod in (*group.all_pods, *group.all_bound))
    if count < group.minimum:
        return False
    needed = len(group.groups) if group.minimum_groups is None else group.minimum_groups
    return sum(stands(below, bound) for below in group.groups) >= needed
