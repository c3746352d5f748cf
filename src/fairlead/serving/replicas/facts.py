"""What a pod says of itself, as a member of a replica. Pure.

Of a pod's containers one speaks for it: the first that waits with a reason or has ended badly, init containers before
the others, as they run first; else the first that was started again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fairlead.clock import parse_time
from fairlead.kube.objects import Pod
from fairlead.kube.objects.containers import ContainerStateTerminated, ContainerStatus
from fairlead.kube.objects.meta import find_condition
from fairlead.kube.objects.pods import PodCondition
from fairlead.serving.names import MEMBER_LABEL
from fairlead.serving.observed import Member

STARTING: Final = ("ContainerCreating", "PodInitializing")
"""Reasons to wait that are the way of things."""
ENGINE: Final = "engine"


def member_of(pod: Pod) -> Member:
    """The facts of one pod. Times that cannot be read count as not known."""
    meta, status = pod.metadata, pod.status
    scheduled = _condition(pod, "PodScheduled")
    ready = _condition(pod, "Ready")
    is_ready = ready is not None and ready.status == "True"
    speaker = _speaker(pod)
    ended = _last_end(speaker)
    waiting = speaker.state.waiting if speaker is not None and speaker.state is not None else None
    reason = waiting.reason if waiting is not None and waiting.reason not in STARTING else ""
    return Member(
        name=meta.name,
        uid=meta.uid,
        index=_index(meta.labels.get(MEMBER_LABEL, "0")),
        node=pod.spec.node_name,
        ready=is_ready,
        deleting=meta.is_deleting,
        failed=status.phase in ("Succeeded", "Failed"),
        restarts=_restarts(pod, speaker),
        created_s=_time(meta.creation_timestamp) or 0.0,
        scheduled_s=_since(scheduled, "True"),
        started_s=_started_s(pod),
        ready_s=_since(ready, "True"),
        unready_s=_since(ready, "False"),
        waiting=reason,
        terminated=(ended.reason or "Error") if ended is not None else _pod_reason(pod),
        exit_code=ended.exit_code if ended is not None else None,
        unschedulable=_unschedulable(scheduled),
        message=_message(reason, waiting.message if waiting is not None else "", ended) or status.message,
        container=speaker.name if speaker is not None else "",
    )


def _index(label: str) -> int:
    return int(label) if label.isdecimal() else 0


def _time(text: str | None) -> float | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None


def _condition(pod: Pod, kind: str) -> PodCondition | None:
    found: PodCondition | None = find_condition(pod.status.conditions, kind)
    return found


def _since(condition: PodCondition | None, status: str) -> float | None:
    """Since when a condition is so."""
    if condition is None or condition.status != status:
        return None
    return _time(condition.last_transition_time)


def _unschedulable(scheduled: PodCondition | None) -> str:
    if scheduled is None or scheduled.status != "False":
        return ""
    return scheduled.message or scheduled.reason or "no reason given"


def _statuses(pod: Pod) -> Iterable[ContainerStatus]:
    yield from pod.status.init_container_statuses
    yield from pod.status.container_statuses


def _speaker(pod: Pod) -> ContainerStatus | None:
    every = list(_statuses(pod))
    troubled = next((s for s in every if _is_in_trouble(s)), None)
    return troubled or next((s for s in every if s.restart_count > 0), None)


def _is_in_trouble(status: ContainerStatus) -> bool:
    state = status.state
    if state is None:
        return False
    if state.waiting is not None:
        return state.waiting.reason not in ("", *STARTING)
    return state.terminated is not None and state.terminated.exit_code != 0


def _last_end(status: ContainerStatus | None) -> ContainerStateTerminated | None:
    if status is None:
        return None
    if status.state is not None and status.state.terminated is not None:
        return status.state.terminated
    return status.last_state.terminated if status.last_state is not None else None


def _restarts(pod: Pod, speaker: ContainerStatus | None) -> int:
    """Of the container that speaks; else none has been started again."""
    return speaker.restart_count if speaker is not None else max((s.restart_count for s in _statuses(pod)), default=0)


def _started_s(pod: Pod) -> float | None:
    statuses = pod.status.container_statuses
    engine = next((s for s in statuses if s.name == ENGINE), statuses[0] if statuses else None)
    running = engine.state.running if engine is not None and engine.state is not None else None
    return _time(running.started_at) if running is not None else None


def _pod_reason(pod: Pod) -> str:
    """Why a pod has ended of which no container tells: evicted, refused by its node, …"""
    if pod.status.phase not in ("Succeeded", "Failed"):
        return ""
    return pod.status.reason or ("Completed" if pod.status.phase == "Succeeded" else "Error")


def _message(reason: str, waiting: str, ended: ContainerStateTerminated | None) -> str:
    """Why it ended says more than how long it waits now."""
    said = ended.message if ended is not None else ""
    return said or (waiting if reason else "")
