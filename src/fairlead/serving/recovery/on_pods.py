"""Symptoms of pods and their containers: how they start, end and wait. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fairlead.serving.observed import Member, Replica, Snapshot
from fairlead.serving.recovery import causes
from fairlead.serving.recovery.causes import Cause, Symptom
from fairlead.serving.recovery.hints import device_memory_hint, host_memory_hint, is_device_memory
from fairlead.serving.recovery.policy import RecoveryPolicy

ENGINE_CONTAINER: Final = "engine"
STUCK_S: Final = 300.0
"""A container that cannot be started for so long is not about to: what a kubelet retries takes less."""

_PULLS: Final = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError")
_REFUSED_IMAGES: Final = ("InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed")
_REFUSED: Final = ("CreateContainerConfigError",)
_UNCREATED: Final = ("CreateContainerError", "RunContainerError", "PostStartHookError")
_NO_SPACE: Final = re.compile(r"NoSpace|no space left|too little room|ENOSPC|disk (is )?full", re.I)
_NOT_AS_PROMISED: Final = re.compile(r"WrongContent|BadArtifact|Unsigned|NotFound|Denied|digest", re.I)


def pod_symptoms(snapshot: Snapshot, policy: RecoveryPolicy) -> Iterator[Symptom]:
    """Of all replicas that do not leave."""
    for replica in snapshot.replicas:
        if replica.is_leaving:
            continue
        yield from _of_group(replica, policy)
        for member in replica.members:
            symptom = _of_member(replica, member, snapshot, policy)
            if symptom is not None:
                yield symptom


def _of_group(replica: Replica, policy: RecoveryPolicy) -> Iterator[Symptom]:
    """What the loss of one pod means for the others."""
    ended = [m for m in replica.members if m.failed and not m.deleting]
    for member in ended:
        message = f"pod {member.name} has ended: {_end(member)}"
        yield Symptom(replica.name, causes.POD_ENDED, message, member.name, member.node)
    if replica.size == 1 or policy.mode != "Gang" or ended:
        return
    alive = replica.alive
    # A gang gets its places all at once: where one pod has one, all of them were there.
    if len(alive) < replica.size and any(m.node for m in alive):
        missing = replica.size - len(alive)
        message = (
            f"{missing} of {replica.size} pods {'is' if missing == 1 else 'are'} gone, without which no other works"
        )
        yield Symptom(replica.name, causes.MEMBER_LOST, message)
    restarted = next((m for m in alive if m.restarts > 0 and _is_engine(m)), None)
    if restarted is not None and not _has_come_back(replica, restarted):
        message = f"{restarted.name} started again ({_end(restarted)}), and the others have lost it"
        cause = _end_cause(restarted) or causes.MEMBER_RESTARTED
        # Whatever ended it, the gang is made anew: a container that the node starts again finds no peers.
        yield Symptom(
            replica.name, causes.MEMBER_RESTARTED, f"{message}{_hint(restarted, cause, replica, policy)}",
            restarted.name, restarted.node, restarted.started_s,
        )  # fmt: skip


def _has_come_back(replica: Replica, restarted: Member) -> bool:
    """Whether the engine became ready after that: a worker that was there before its leader may start several times."""
    leader = next((m for m in replica.alive if m.index == 0), None)
    if leader is None or not leader.ready or leader.ready_s is None or restarted.started_s is None:
        return False
    return leader.ready_s >= restarted.started_s


def _of_member(replica: Replica, member: Member, snapshot: Snapshot, policy: RecoveryPolicy) -> Symptom | None:
    if member.deleting or member.failed:
        return None
    if not member.node:
        return _unplaced(replica, member)
    found = (
        _waiting(replica, member, snapshot.now_s, policy) if member.waiting else _restarting(replica, member, policy)
    )
    return found or _starting(replica, member, snapshot, policy)


def _is_recovered_whole(replica: Replica, policy: RecoveryPolicy) -> bool:
    """Whether the restart of one engine process is a loss for all pods of the replica, and judged as that."""
    return replica.size > 1 and policy.mode == "Gang"


def _unplaced(replica: Replica, member: Member) -> Symptom | None:
    if not member.unschedulable:
        return None
    message = f"{member.name} has no place: {member.unschedulable}"
    return Symptom(replica.name, causes.UNSCHEDULABLE, message, member.name, since_s=member.created_s)


def _waiting(replica: Replica, member: Member, now_s: float, policy: RecoveryPolicy) -> Symptom | None:
    """A container that does not run, by the reason that the kubelet gives."""
    cause = _waiting_cause(member, now_s)
    if cause is None:
        return None
    if member.waiting == "CrashLoopBackOff" and _is_engine(member) and _is_recovered_whole(replica, policy):
        return None
    what = member.container or "a container"
    said = f": {member.message}" if member.message else ""
    if member.waiting == "CrashLoopBackOff":
        text = f"{member.name}: {what} has been started {member.restarts + 1} times and ends ({_end(member)})"
        message = text + _hint(member, cause, replica, policy)
    else:
        message = f"{member.name}: {what} waits for {member.waiting}{said}"
    return Symptom(replica.name, cause, message, member.name, member.node, member.scheduled_s)


def _waiting_cause(member: Member, now_s: float) -> Cause | None:
    reason = member.waiting
    if reason == "CrashLoopBackOff":
        return _end_cause(member) or causes.CRASH_LOOP
    if reason in _PULLS:
        return causes.DISK_FULL if _NO_SPACE.search(member.message) else causes.IMAGE_PULL_FAILED
    if reason in (*_REFUSED_IMAGES, *_REFUSED):
        return causes.CONTAINER_REFUSED
    if reason in _UNCREATED:
        stuck = member.scheduled_s is not None and now_s - member.scheduled_s > STUCK_S
        return causes.START_TIMED_OUT if stuck else causes.CONTAINER_REFUSED
    return None


def _restarting(replica: Replica, member: Member, policy: RecoveryPolicy) -> Symptom | None:
    """Between two starts: running just now, or ended and about to be started."""
    if member.ready or member.restarts == 0 or not member.terminated:
        return None
    if _is_engine(member) and _is_recovered_whole(replica, policy):
        return None
    cause = _end_cause(member) or causes.CRASH_LOOP
    text = f"{member.name} has been started {member.restarts + 1} times and ends ({_end(member)})"
    message = text + _hint(member, cause, replica, policy)
    return Symptom(replica.name, cause, message, member.name, member.node, member.started_s)


def start_limit(member: Member, policy: RecoveryPolicy) -> tuple[float, float] | None:
    """Since when a pod that has a place is on its way to being ready (wall seconds), and how long it may be."""
    if member.ready or member.scheduled_s is None:
        return None
    if member.started_s is None:
        return member.scheduled_s, policy.start_s or max(STUCK_S, policy.startup_s)
    if member.unready_s is None:
        return None
    return max(member.started_s, member.unready_s), policy.start_s or policy.startup_s


def _starting(replica: Replica, member: Member, snapshot: Snapshot, policy: RecoveryPolicy) -> Symptom | None:
    """It runs, or is to run, and does not become ready."""
    limit = start_limit(member, policy)
    if limit is None or snapshot.now_s - limit[0] <= limit[1]:
        return None
    cause = causes.START_TIMED_OUT if policy.start_s else causes.NOT_STARTED
    if member.started_s is None:
        what = f"has not started{f' ({member.waiting})' if member.waiting else ''}"
    else:
        what = "runs and is not ready"
        if _answers(member, snapshot):
            what += ", though its engine answers: does its readiness probe ask for the right page and port?"
        if not policy.start_s or _answers(member, snapshot):
            cause = causes.NEVER_READY
    message = f"{member.name}, after {snapshot.now_s - limit[0]:.0f} s, {what}"
    return Symptom(replica.name, cause, message, member.name, member.node, limit[0])


def _answers(member: Member, snapshot: Snapshot) -> bool:
    view = snapshot.engines.get(member.uid)
    if view is None or view.seen_s is None or view.unreachable_s is not None:
        return False
    return view.seen_s >= (member.started_s or 0.0)


def _end_cause(member: Member) -> Cause | None:
    """What ended it, where that tells what to do."""
    if member.terminated == "OOMKilled" or (is_device_memory(member.message) and _is_engine(member)):
        return causes.OUT_OF_MEMORY
    if _is_engine(member):
        return None
    if _NO_SPACE.search(member.message):
        return causes.DISK_FULL
    if _NOT_AS_PROMISED.search(member.message):
        return causes.MODEL_REFUSED
    return causes.MODEL_FETCH_FAILED


def _is_engine(member: Member) -> bool:
    return member.container in ("", ENGINE_CONTAINER)


def _hint(member: Member, cause: Cause, replica: Replica, policy: RecoveryPolicy) -> str:
    if cause is causes.OUT_OF_MEMORY:
        if member.terminated == "OOMKilled":
            return f"; {host_memory_hint(policy.memory_limit.get(replica.role, ''))}"
        return f"; {device_memory_hint(member.message)}"
    if cause is causes.DISK_FULL:
        return "; free room on the node's disk, or give the node's cache less"
    return ""


def _end(member: Member) -> str:
    parts = [member.terminated or "no reason given"]
    if member.exit_code is not None:
        parts.append(f"exit code {member.exit_code}")
    if member.message:
        parts.append(member.message.strip().splitlines()[-1][:300])
    return ", ".join(parts)
