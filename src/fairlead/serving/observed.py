"""What serving sees of its replicas, as values: the one snapshot that every decision is made from.

Times are wall-clock seconds (Unix), None where it has not happened or nobody knows. Absent is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fairlead.api.model_service import RoleName

Track = Literal["stable", "canary"]


@dataclass(frozen=True, slots=True)
class Member:
    """One pod of a replica."""

    name: str
    uid: str
    index: int = 0
    node: str = ""
    """Empty while it has no place."""
    ready: bool = False
    deleting: bool = False
    failed: bool = False
    """It has ended (Succeeded or Failed) and will never serve again."""
    restarts: int = 0
    created_s: float = 0.0
    scheduled_s: float | None = None
    started_s: float | None = None
    """Since when its engine runs; of the latest start."""
    ready_s: float | None = None
    unready_s: float | None = None
    """Since when it is not ready; of a pod that never was, since its Ready condition says so. None while it is."""
    waiting: str = ""
    """Reason of a container that waits: CrashLoopBackOff, ImagePullBackOff, ErrImagePull, CreateContainerError, …"""
    terminated: str = ""
    """Reason of the last end: OOMKilled, Error, Completed."""
    exit_code: int | None = None
    unschedulable: str = ""
    """Why it has no place, in the scheduler's words."""
    message: str = ""
    """What is said of the waiting or ended container."""
    container: str = ""
    """Name of the container that waits or has ended; init containers (which fetch models) come before the engine."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A leader and its workers, as they are. `size` is how many members there should be."""

    name: str
    role: RoleName
    revision: str
    members: tuple[Member, ...]
    size: int = 1
    track: Track = "stable"
    alternative: str = ""
    draining_s: float | None = None
    """Since when it gets no new requests."""
    drain_reason: str = ""
    """Why it leaves, as the order to drain said."""
    in_flight: int | None = None
    """Requests that its engine has, running and waiting; None where nobody knows."""
    in_flight_s: float | None = None
    """When that was seen."""
    idle_s: float | None = None
    """Since which look all looks in a row have found nothing in flight; None where the last one found something."""
    warmth: float | None = None
    """Share of its KV cache that holds something, 0 to 1."""
    broken: str = ""
    """Why it has to be replaced, as recovery says; empty where it need not."""

    @property
    def ordinal(self) -> int:
        """The number at the end of its name."""
        return int(self.name.rpartition("-")[2])

    @property
    def alive(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if not m.deleting and not m.failed)

    @property
    def is_complete(self) -> bool:
        return len(self.alive) >= self.size

    @property
    def is_ready(self) -> bool:
        """Whether it serves: every member is there and ready, and it is not leaving."""
        return self.is_complete and all(m.ready for m in self.alive) and self.draining_s is None

    @property
    def is_leaving(self) -> bool:
        """Whether it does not count any more: it drains, or all that is left of it goes away."""
        return self.draining_s is not None or all(m.deleting for m in self.members)

    @property
    def created_s(self) -> float:
        return min((m.created_s for m in self.members), default=0.0)


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node's condition means for the replicas on it."""

    name: str
    ready: bool = True
    unready_s: float = 0.0
    """For how long its kubelet has said that it is not ready."""
    silent_s: float = 0.0
    """For how long its kubelet has said nothing."""
    cordoned: bool = False
    """Somebody drains it: replicas are to leave before they are evicted."""
    gone: bool = False
    reason: str = ""
    """In words: which taint, condition or field says so."""


@dataclass(frozen=True, slots=True)
class DeviceTrouble:
    """A device of a replica's claim that is tainted or unhealthy."""

    replica: str
    device: str
    effect: str
    """NoSchedule, NoExecute, or empty for a health report without a taint."""
    reason: str
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class EngineView:
    """What an engine has said of itself, and since when it says nothing or does nothing."""

    in_flight: int | None = None
    """Requests that it has, running and waiting; None where its page does not say."""
    tokens_total: float | None = None
    """Prompt and generated tokens since it started, by which one sees whether it gets on with its work."""
    kv_usage: float | None = None
    """Share of the KV cache that is held by requests, 0 to 1."""
    seen_s: float | None = None
    """When it answered last."""
    idle_s: float | None = None
    """The first of those looks in a row, up to the last one, that found nothing in flight and no token made."""
    stalled_s: float | None = None
    """The first of those looks in a row, up to the last one, that found work in flight and no progress since."""
    unreachable_s: float | None = None
    """Since when it does not answer; None while it does, or where nobody has asked."""
    problem: str = ""
    """Why it did not answer the last time."""
    accepts: bool = False
    """Whether its port took the connection though no page came: something is there, and it is stuck."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is seen of one service at one moment."""

    now_s: float
    replicas: Sequence[Replica]
    nodes: Sequence[NodeState] = ()
    """Those that the replicas are on."""
    devices: Sequence[DeviceTrouble] = ()
    engines: Mapping[str, EngineView] = field(default_factory=dict)
    """By uid of the pod, of those that were asked."""
