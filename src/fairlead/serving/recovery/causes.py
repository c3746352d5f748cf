"""What can be wrong with a replica, from the gravest to the least, and what follows from each. One row a cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Remedy = Literal["force", "delete", "restart", "kubelet", "elsewhere", "drain", "say"]
"""force: its pods are deleted without waiting for their node, and made anew. delete: the same, waiting. restart: made
anew in its place, elsewhere after `maxRestarts`. kubelet: the node restarts the container; after `maxRestarts`
elsewhere. elsewhere: made anew on another node. drain: a replacement first, then it leaves. say: told and no more."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that goes wrong."""

    name: str
    """Reason code, CamelCase."""
    remedy: Remedy
    in_common: bool = False
    """Whether it lies in what all replicas share (image, model, arguments) where more than half of them have it:
    then no replacement helps."""
    blames_node: bool = False
    """Whether a replacement had better go to another node."""
    certain: bool = False
    """Whether the replica is gone for good whatever is done: acting needs no budget."""


NODE_GONE: Final = Cause("NodeGone", "force", certain=True)
NODE_LOST: Final = Cause("NodeLost", "force", blames_node=True)
POD_ENDED: Final = Cause("PodEnded", "delete", certain=True)
DEVICE_FAILED: Final = Cause("DeviceFailed", "delete")
MEMBER_LOST: Final = Cause("MemberLost", "delete")
ENGINE_HUNG: Final = Cause("EngineHung", "restart", blames_node=True)
OUT_OF_MEMORY: Final = Cause("OutOfMemory", "kubelet", in_common=True, blames_node=True)
CRASH_LOOP: Final = Cause("CrashLoop", "kubelet", in_common=True, blames_node=True)
MEMBER_RESTARTED: Final = Cause("MemberRestarted", "restart", in_common=True, blames_node=True)
MODEL_FETCH_FAILED: Final = Cause("ModelFetchFailed", "kubelet", in_common=True, blames_node=True)
MODEL_REFUSED: Final = Cause("ModelRefused", "say", in_common=True)
DISK_FULL: Final = Cause("DiskFull", "elsewhere", in_common=True, blames_node=True)
IMAGE_PULL_FAILED: Final = Cause("ImagePullFailed", "elsewhere", in_common=True, blames_node=True)
CONTAINER_REFUSED: Final = Cause("ContainerRefused", "say", in_common=True)
START_TIMED_OUT: Final = Cause("StartTimedOut", "elsewhere", in_common=True, blames_node=True)
DEVICE_UNHEALTHY: Final = Cause("DeviceUnhealthy", "drain", blames_node=True)
NODE_NOT_READY: Final = Cause("NodeNotReady", "drain", blames_node=True)
NODE_DRAINING: Final = Cause("NodeDraining", "drain")
DEVICE_DEGRADED: Final = Cause("DeviceDegraded", "drain")
NOT_STARTED: Final = Cause("NotStarted", "say", in_common=True)
NEVER_READY: Final = Cause("NeverReady", "say", in_common=True)
UNSCHEDULABLE: Final = Cause("Unschedulable", "say")
ENGINE_UNSEEN: Final = Cause("EngineUnseen", "say")

CAUSES: Final[tuple[Cause, ...]] = (
    NODE_GONE, NODE_LOST, POD_ENDED, DEVICE_FAILED, MEMBER_LOST, ENGINE_HUNG, OUT_OF_MEMORY, CRASH_LOOP,
    MEMBER_RESTARTED, MODEL_FETCH_FAILED, MODEL_REFUSED, DISK_FULL, IMAGE_PULL_FAILED, CONTAINER_REFUSED,
    START_TIMED_OUT, DEVICE_UNHEALTHY, NODE_NOT_READY, NODE_DRAINING, DEVICE_DEGRADED, NOT_STARTED, NEVER_READY,
    UNSCHEDULABLE, ENGINE_UNSEEN,
)  # fmt: skip
"""In order of severity: of a replica that has several, the first counts."""

SEVERITY: Final = {cause.name: rank for rank, cause in enumerate(CAUSES)}
CAUSE_OF: Final = {cause.name: cause for cause in CAUSES}


@dataclass(frozen=True, slots=True)
class Symptom:
    """One cause, found on one replica."""

    replica: str
    cause: Cause
    message: str
    """A sentence that names the pod, node or device, the values, and where one can be named, the way out."""
    member: str = ""
    """The pod that has it; empty where the whole replica does."""
    node: str = ""
    since_s: float | None = None
    """Wall time at which it began, where that is known."""

    @property
    def rank(self) -> tuple[int, float, str]:
        return (SEVERITY[self.cause.name], self.since_s or 0.0, self.replica)
