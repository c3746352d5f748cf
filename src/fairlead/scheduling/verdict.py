"""What a decision about a gang is: placed, cleared for by evictions, refused. Values to print, compare."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import PodView


class Because(enum.Enum):
    """The kind of thing that stands in the way; machine-readable."""

    GATE = "gate"
    """It waits for something that is not the nodes' business: scheduling gates, claims, pods of its gang."""
    NODES = "nodes"
    """No node passes the filters."""
    DEVICES = "devices"
    """Nodes pass, but there are too few devices that satisfy the claims."""
    ROOM = "room"
    """Each pod fits somewhere, but not all of them together."""
    TOPOLOGY = "topology"
    """All would fit, but in no single domain of a required level."""
    QUOTA = "quota"
    """A limit of the queue, or a quota beyond which the gang may not borrow."""
    CLAIM = "claim"
    """A claim, class or selector is in error."""
    BUDGET = "budget"
    """The search was cut off: whether it fits is not known."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A pod and its node."""

    pod: PodView
    node: str
    allocations: Mapping[str, AllocationResult] = field(default_factory=dict)
    """Claim name -> the devices that it gets now. Claims that have theirs already are not here."""


@dataclass(frozen=True, slots=True)
class DomainReport:
    """How near a gang came in one domain of a topology level."""

    level: str
    value: str
    wanted: int
    """Pods that need a place."""
    found: int
    """Pods that would have one."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """First constraint that failed, in words -> on how many of the domain's nodes."""
    held_by: Mapping[str, int] = field(default_factory=dict)
    """Who holds what the rest would need: gang or queue -> pods or devices; filled for the nearest miss."""
    note: str = ""
    """What else there is to say: "2 held by batch/queue-b, reclaimable: no, within min-runtime until …"."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a gang has no place."""

    because: Because
    sentence: str
    """In kube-scheduler's form where nodes are the matter: `0/3 nodes are available: 2 Insufficient cpu.`"""
    pod: str = ""
    """The pod that could not be placed, where it is one."""
    rejections: Mapping[str, int] = field(default_factory=dict)
    """First reason against a node -> nodes."""
    domains: tuple[DomainReport, ...] = ()
    """By nearness, the nearest first."""
    remedy: str = ""
    """What would make it fit."""
    held_back: tuple[str, ...] = ()
    """Why nobody makes room, most pods first: "2 held by batch/queue-b, not reclaimable: within its min-runtime …"."""
    steps: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Placed:
    """All that must be placed is; nothing is held unless this is the verdict."""

    gang: Gang
    assignments: tuple[Assignment, ...]
    domains: Mapping[str, str] = field(default_factory=dict)
    """The topology levels that the whole gang shares -> the value."""
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Victims:
    """Pods of one gang that are to be evicted together."""

    gang: Gang
    pods: tuple[PodView, ...]
    is_whole: bool
    cost: float
    why: str
    """The reason told to their owner."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """A place that becomes free once others have left. The plan was proven on a copy of the fleet."""

    gang: Gang
    victims: tuple[Victims, ...]
    nominations: Mapping[str, str]
    """Pod uid -> node: where the gang will be placed."""
    kind: str
    """preemption (higher priority), reclaim (the queue's own share), consolidation (victims have a new place too),
    leaving (nobody is evicted: pods that are leaving already make room)."""
    moves: tuple[Assignment, ...] = ()
    """Where the victims of a consolidation would go."""
    why: str = ""
    assignments: tuple[Assignment, ...] = ()
    """The places of `nominations` with the devices that the gang had in the proof."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It stays pending."""

    gang: Gang
    explanation: Explanation


Verdict = Placed | Cleared | Refused
