"""What to do about one symptom, before budgets: in place first, then elsewhere, then no more. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fairlead.serving.observed import Member, Replica
from fairlead.serving.recovery import causes
from fairlead.serving.recovery.causes import Symptom
from fairlead.serving.recovery.memory import Deed, Entry
from fairlead.serving.recovery.on_pods import STUCK_S
from fairlead.serving.recovery.policy import RecoveryPolicy
from fairlead.serving.recovery.storms import Ill

BACKOFF_S: Final = 10.0
MAX_BACKOFF_S: Final = 300.0
"""Between deeds on the same node for the same cause: doubled each time, as kubelets do between restarts."""
MIN_MOVES: Final = 3
"""Moves of a role within an hour for one cause, or one for each of its replicas, if those are more."""

Why = Literal["PolicyNone", "Common", "GaveUp", "Backoff", "NodeRestarts", "Everywhere", "Said", "Budget"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is done, and why."""

    why: Why
    reason: str
    again_s: float | None = None
    """Seconds until time alone changes that."""


@dataclass(frozen=True, slots=True)
class Act:
    """What is done."""

    deed: Deed
    force: bool = False
    member: str = ""
    """The pod that alone is made anew; empty for the whole replica."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the decision about one replica needs to know of the others, and of before."""

    replicas: Sequence[Replica]
    entries: Sequence[Entry]
    common: Mapping[Ill, tuple[int, int]]
    policy: RecoveryPolicy
    now_s: float


def decide(symptom: Symptom, replica: Replica, around: Surroundings) -> Act | Hold | None:
    """None: nothing to do nor to say, as the replica leaves already."""
    if around.policy.mode == "None":
        return Hold("PolicyNone", "recovery.policy is None: nothing is done by itself")
    if replica.is_leaving:
        return _of_leaving(symptom)
    shared = around.common.get((replica.role, replica.revision, symptom.cause.name))
    if shared is not None:
        ill, count = shared
        return Hold(
            "Common",
            f"{ill} of {count} replicas of revision {replica.revision} have it: it lies in what they share, and no "
            "replacement helps; change the service, or what it loads",
        )
    remedy = symptom.cause.remedy
    if remedy == "force":
        return Act("Replaced", force=True)
    if remedy == "delete":
        return _replace(symptom, replica, around)
    if remedy == "drain":
        return _drain(symptom, replica)
    if remedy == "restart":
        return _restart(symptom, replica, around)
    if remedy == "kubelet":
        return _after_node(symptom, replica, around)
    if remedy == "elsewhere":
        return _elsewhere(symptom, replica, around)
    return Hold("Said", "nothing that could be done by itself would help")


def _of_leaving(symptom: Symptom) -> Act | None:
    if symptom.cause.remedy == "force":
        return Act("Replaced", force=True)
    # What hangs will not finish, however long it is waited for.
    return Act("Replaced") if symptom.cause is causes.ENGINE_HUNG else None


def _replace(symptom: Symptom, replica: Replica, around: Surroundings) -> Act | Hold:
    alone = around.policy.mode == "Member" and replica.size > 1
    if symptom.cause is causes.MEMBER_LOST:
        held = _backoff(_here(symptom, replica, around), around.now_s)
        return held or Act("Replaced")
    if alone and symptom.member and symptom.cause is causes.POD_ENDED:
        return Act("Replaced", member=symptom.member)
    return Act("Replaced")


def _drain(symptom: Symptom, replica: Replica) -> Act:
    if serves(replica):
        return Act("Draining")
    return Act("Moved" if symptom.cause.blames_node else "Replaced")


def _restart(symptom: Symptom, replica: Replica, around: Surroundings) -> Act | Hold:
    here = _here(symptom, replica, around)
    restarts = sum(entry.deed == "Restarted" for entry in here)
    policy = around.policy
    of_role = sum(e.role == replica.role and e.cause == symptom.cause.name for e in around.entries)
    most = (policy.max_restarts + 1) * _most_moves(replica, policy)
    if of_role >= most:
        return _gave_up(f"{of_role} replicas of role {replica.role} were made anew for it within an hour", symptom)
    held = _backoff(here, around.now_s)
    if held is not None:
        return held
    if restarts >= policy.max_restarts:
        return _move(symptom, replica, around)
    alone = policy.mode == "Member" and replica.size > 1
    return Act("Restarted", member=symptom.member if alone else "")


def _after_node(symptom: Symptom, replica: Replica, around: Surroundings) -> Act | Hold:
    """The node restarts its containers by itself; what is left is to judge whether that leads anywhere."""
    member = _member(symptom, replica)
    restarts, most = member.restarts if member else 0, around.policy.max_restarts
    if restarts <= most:
        return Hold("NodeRestarts", f"its node starts it again: {restarts} of {most} restarts before it is moved")
    if member is not None and not member.waiting and member.started_s is not None:
        return Hold("NodeRestarts", "it has been started again and may yet become ready")
    if symptom.cause is causes.OUT_OF_MEMORY and not _by_node(symptom, member, replica, around.policy):
        return Hold("Everywhere", "the limit is the same on every node: it is not moved")
    return _move(symptom, replica, around)


def _by_node(symptom: Symptom, member: Member | None, replica: Replica, policy: RecoveryPolicy) -> bool:
    """Whether another node may have the memory that it lacks here."""
    killed = member is not None and member.terminated == "OOMKilled"
    return killed and not policy.memory_limit.get(replica.role)


def _elsewhere(symptom: Symptom, replica: Replica, around: Surroundings) -> Act | Hold:
    if symptom.cause is causes.IMAGE_PULL_FAILED:
        waited_s = around.now_s - (symptom.since_s or around.now_s)
        if waited_s < STUCK_S:
            return Hold("NodeRestarts", "its node goes on trying to pull it", STUCK_S - waited_s)
        if not any(_has_image(other, replica) for other in around.replicas):
            return Hold("Everywhere", "no node has pulled it: check the image's name, its registry and pull secrets")
    return _move(symptom, replica, around)


def _has_image(other: Replica, ill: Replica) -> bool:
    return (
        other.name != ill.name
        and (other.role, other.revision) == (ill.role, ill.revision)
        and any(m.started_s is not None for m in other.members)
    )


def _move(symptom: Symptom, replica: Replica, around: Surroundings) -> Act | Hold:
    moved = sum(e.deed == "Moved" and e.role == replica.role and e.cause == symptom.cause.name for e in around.entries)
    if moved >= _most_moves(replica, around.policy):
        return _gave_up(f"{moved} replicas of role {replica.role} were moved for it within an hour", symptom)
    return _backoff(_here(symptom, replica, around), around.now_s) or Act("Moved")


def _most_moves(replica: Replica, policy: RecoveryPolicy) -> int:
    return max(MIN_MOVES, policy.desired.get(replica.role, 0))


def _gave_up(what: str, symptom: Symptom) -> Hold:
    return Hold("GaveUp", f"{what}, and it went on: given up until an hour after the first of them")


def _here(symptom: Symptom, replica: Replica, around: Surroundings) -> list[Entry]:
    """What was done before for the same cause in the same place: names of replicas change, nodes stay."""
    return [
        entry
        for entry in around.entries
        if entry.role == replica.role
        and entry.cause == symptom.cause.name
        and (entry.node == symptom.node if symptom.node else entry.replica == replica.name)
        and not _is_undone(entry, replica, around.policy)
    ]


def _is_undone(entry: Entry, replica: Replica, policy: RecoveryPolicy) -> bool:
    """Whether it was decided and not done: what is made anew as a whole is not there afterwards."""
    return (replica.size == 1 or policy.mode != "Member") and entry.is_of(replica.name, replica.created_s)


def _backoff(here: Sequence[Entry], now_s: float) -> Hold | None:
    if not here:
        return None
    delay_s = min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** min(10, len(here) - 1))
    left_s = here[-1].at_s + delay_s - now_s
    if left_s <= 0:
        return None
    times = "once" if len(here) == 1 else f"{len(here)} times"
    return Hold("Backoff", f"it was made anew {times} for this within an hour; again in {left_s:.0f} s", left_s)


def serves(replica: Replica) -> bool:
    """Whether it is worth anything as it is: ready, or with requests that get on."""
    return replica.is_ready or bool(replica.in_flight)


def _member(symptom: Symptom, replica: Replica) -> Member | None:
    return next((m for m in replica.members if m.name == symptom.member), None)
