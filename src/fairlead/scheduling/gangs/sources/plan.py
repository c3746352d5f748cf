"""A gang as its source describes it, before its pods are counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from fairlead.scheduling.gangs.model import Topology

ANYWHERE: Final = Topology()


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group that should be there, and how much of it must be."""

    name: str
    minimum: int | None = None
    """Pods, its own and those of its groups; None for all of its own that are there and what its groups need."""
    minimum_groups: int | None = None
    """None for all."""
    topology: Topology = ANYWHERE
    groups: tuple[GroupPlan, ...] = ()

    def walk(self) -> Iterator[GroupPlan]:
        yield self
        for group in self.groups:
            yield from group.walk()


@dataclass(frozen=True, slots=True)
class GangPlan:
    """What a source says about a gang."""

    root: GroupPlan
    where: Mapping[str, GroupPlan] = field(default_factory=dict)
    """Name of a pod -> its group; the root for those that are not here."""
    queue: str = ""
    """The queue that the describing object names; pods' own labels come first."""
    priority: int | None = None
    """None for that of the pods."""
    recovery: Literal["gang", "member"] = "gang"
    disruption: Literal["all", "surplus"] = "surplus"
    is_preemptible: bool = True
    counts_finished: bool = True
    """Whether a pod that has succeeded counts towards the minimum."""
