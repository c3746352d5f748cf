"""From pods to replicas: grouped by label, with what their pods say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from fairlead.api.model_service import RoleName
from fairlead.clock import parse_time
from fairlead.kube.objects import Pod
from fairlead.serving.actions import Action, Delete, Drain, MoveTrack, RestartMember, Undrain
from fairlead.serving.names import (
    ALTERNATIVE_LABEL,
    DRAIN_REASON_ANNOTATION,
    DRAINING_ANNOTATION,
    REPLICA_LABEL,
    REVISION_LABEL,
    ROLE_LABEL,
    TRACK_LABEL,
)
from fairlead.serving.observed import Member, Replica, Snapshot, Track
from fairlead.serving.render.pods import LWS_SIZE
from fairlead.serving.replicas.facts import member_of

ROLE_NAMES: tuple[RoleName, ...] = get_args(RoleName)


def observe_replicas(pods: Iterable[Pod], now_s: float) -> tuple[Replica, ...]:
    """The replicas of one service by name. A pod without the labels of a replica is one of its own, of no revision that
    is wanted: it is replaced. `now_s` stands for the time of a drain order that says none."""
    groups: dict[str, list[Pod]] = {}
    for pod in pods:
        groups.setdefault(replica_of(pod), []).append(pod)
    return tuple(_replica(name, groups[name], now_s) for name in sorted(groups))


def replica_of(pod: Pod) -> str:
    """Name of the replica that a pod belongs to."""
    return pod.metadata.labels.get(REPLICA_LABEL) or pod.metadata.name


def _replica(name: str, pods: Sequence[Pod], now_s: float) -> Replica:
    members = sorted((member_of(p) for p in pods), key=lambda m: (m.index, m.name))
    # The leader speaks for all: its label decides which pool it is in, and requests reach it alone.
    leader = min(pods, key=lambda p: (p.metadata.is_deleting, p.metadata.labels.get("fairlead.dev/member", "0")))
    labels = leader.metadata.labels
    role = labels.get(ROLE_LABEL, "unified")
    drains = [since for since in (_draining_s(p, now_s) for p in pods) if since is not None]
    track: Track = "canary" if labels.get(TRACK_LABEL) == "canary" else "stable"
    return Replica(
        name=name,
        role=next((r for r in ROLE_NAMES if r == role), "unified"),
        revision=labels.get(REVISION_LABEL, ""),
        members=tuple(members),
        size=max(1, max(map(_size, pods), default=1)),
        track=track,
        alternative=labels.get(ALTERNATIVE_LABEL, ""),
        draining_s=min(drains, default=None),
        drain_reason=next((r for r in (p.metadata.annotations.get(DRAIN_REASON_ANNOTATION) for p in pods) if r), ""),
    )


def _size(pod: Pod) -> int:
    text = pod.metadata.annotations.get(LWS_SIZE, "")
    return int(text) if text.isdecimal() else 1


def _draining_s(pod: Pod, now_s: float) -> float | None:
    """Since when a pod gets nothing new. Anything but `false` counts, as for the gateway."""
    text = pod.metadata.annotations.get(DRAINING_ANNOTATION, "false")
    if text == "false":
        return None
    try:
        return parse_time(text)
    except ValueError:
        return now_s


def foreseen(snapshot: Snapshot, actions: Iterable[Action]) -> Snapshot:
    """The snapshot as it is once these orders are carried out, so that a second decision can build on a first one in
    the same pass. What is only made then is not in it."""
    replicas: Mapping[str, Replica] = {r.name: r for r in snapshot.replicas}
    changed = dict(replicas)
    for action in actions:
        name = getattr(action, "replica", "")
        if name in changed:
            changed[name] = _after(changed[name], action, snapshot.now_s)
    return replace(snapshot, replicas=tuple(changed.values()))


def _after(replica: Replica, action: Action, now_s: float) -> Replica:
    match action:
        case Delete():
            return replace(replica, members=tuple(_going(m) for m in replica.members))
        case RestartMember():
            members = tuple(_going(m) if m.name == action.member else m for m in replica.members)
            return replace(replica, members=members)
        case Drain():
            return replace(replica, draining_s=now_s, drain_reason=action.reason)
        case Undrain():
            return replace(replica, draining_s=None, drain_reason="")
        case MoveTrack():
            return replace(replica, track=action.track)
    return replica


def _going(member: Member) -> Member:
    return replace(member, deleting=True)
