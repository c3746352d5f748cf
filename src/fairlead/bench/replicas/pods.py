"""A pod as it is at one moment: how far it has come, and when the API says that it came there. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from fairlead.bench.scaling_summary import Moments
from fairlead.clock import parse_time
from fairlead.kube.objects import Pod, PodCondition

DRAINING: Final = "fairlead.dev/draining"
"""On pods that get nothing new while what they have begun goes on, with the time since when."""
_REPLICA: Final = "fairlead.dev/replica"
_LWS: Final = "leaderworkerset.sigs.k8s.io/"
_OVER: Final = ("Succeeded", "Failed")


class PodState(NamedTuple):
    """`serves`: ready, and not told to go. `over`: it holds its node's devices no longer. `told`: in seconds since the
    epoch."""

    scheduled: bool
    started: bool
    ready: bool
    leaving: bool
    over: bool
    told: Moments

    @property
    def serves(self) -> bool:
        return self.ready and not self.leaving and not self.over


def state_of(pod: Pod) -> PodState:
    """Of a pod as the API has it."""
    containers = pod.status.container_statuses
    running = [status.state.running for status in containers if status.state is not None and status.state.running]
    started = bool(running) and len(running) >= len(pod.spec.containers)
    begun = [at for state in running if (at := _time(state.started_at)) is not None]
    scheduled = _condition(pod.status.conditions, "PodScheduled")
    ready = _condition(pod.status.conditions, "Ready")
    told = Moments(
        created=_time(pod.metadata.creation_timestamp),
        scheduled=_time(scheduled.last_transition_time) if scheduled is not None else None,
        started=max(begun, default=None) if started else None,
        ready=_time(ready.last_transition_time) if ready is not None else None,
        leaving=_left(pod),
    )
    return PodState(
        bool(pod.spec.node_name),
        started,
        ready is not None,
        pod.metadata.is_deleting or DRAINING in pod.metadata.annotations,
        pod.status.phase in _OVER,
        told,
    )


def replica_of(pod: Pod) -> tuple[str, int]:
    """The replica that the pod is of, and how many pods it takes: a group of a LeaderWorkerSet or a ModelService has
    several, any other pod is one by itself."""
    labels, annotations = pod.metadata.labels, pod.metadata.annotations
    size = annotations.get(_LWS + "size", "1")
    pods = int(size) if size.isdecimal() and int(size) > 0 else 1
    if replica := labels.get(_REPLICA):
        return replica, pods
    name, group = labels.get(_LWS + "name"), labels.get(_LWS + "group-index")
    return (f"{name}-{group}", pods) if name and group else (pod.metadata.name, 1)


def _condition(conditions: Iterable[PodCondition], kind: str) -> PodCondition | None:
    """Where it is true."""
    return next((c for c in conditions if c.type == kind and c.status == "True"), None)


def _left(pod: Pod) -> float | None:
    """When it was told to go: the API has the time by which it must be gone."""
    drained = _time(pod.metadata.annotations.get(DRAINING))
    by = _time(pod.metadata.deletion_timestamp)
    deleted = None if by is None else by - (pod.metadata.deletion_grace_period_seconds or 0)
    return min((at for at in (drained, deleted) if at is not None), default=None)


def _time(text: str | None) -> float | None:
    """None too for what is no time."""
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        return None
