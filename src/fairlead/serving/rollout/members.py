"""Replicas that are not whole: missing pods are made, or the whole gang is made anew, by the gang's policy. Pure.

`Gang` (LeaderWorkerSet's `RecreateGroupOnPodRestart`): pods of a replica form one process group and cannot take a
newcomer in; one that is deleted, has ended or was restarted costs them all. A restart counts only if it came after
all of them had started: before that nothing was formed that it could break (LeaderWorkerSet's
`RecreateGroupAfterStart` waits in the same case). `Member` (its `None`): that pod alone. `None`: nothing.

The place of a replica that is deleted is taken by a new one with another number at once, not after the old pods have
ended: they may take minutes, or never end on a node that is gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.serving.actions import Action, Create, Delete, RestartMember
from fairlead.serving.names import replica_name
from fairlead.serving.observed import Member, Replica, Snapshot
from fairlead.serving.rollout.intent import GangPolicy, Intent

MIN_AGE_S: Final = 5.0
"""What has failed is not made anew sooner after it was made: what fails at once would fail at once again."""


@dataclass(slots=True)
class Mended:
    """Actions, the replicas that they delete, and when to look again."""

    actions: list[Action] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    again_s: float | None = None

    def delete(self, replica: Replica, reason: str, now_s: float, *, pause: bool) -> None:
        wait_s = replica.created_s + MIN_AGE_S - now_s
        if pause and 0.0 < wait_s <= MIN_AGE_S:
            self.again_s = min(wait_s, self.again_s or math.inf)
            return
        self.actions.append(Delete(replica.name, reason))
        self.gone.add(replica.name)


def mend(intent: Intent, snapshot: Snapshot) -> Mended:
    """Of all replicas that are not whole."""
    mended = Mended()
    for replica in sorted(snapshot.replicas, key=lambda r: r.name):
        if replica.is_leaving:
            if replica.draining_s is not None and replica.members and all(m.failed for m in replica.members):
                mended.delete(replica, "all that was left of it has ended", snapshot.now_s, pause=False)
        elif intent.gang != "None":
            _mend_one(intent, replica, snapshot.now_s, mended)
    return mended


def _mend_one(intent: Intent, replica: Replica, now_s: float, mended: Mended) -> None:
    why = loss(replica, intent.gang)
    if why:
        mended.delete(replica, why, now_s, pause=any(m.failed or m.restarts for m in replica.members))
        return
    if intent.gang == "Member":
        mended.actions += [
            RestartMember(replica.name, m.name, f"{m.name} has ended{_cause(m)}")
            for m in replica.members
            if m.failed and not m.deleting
        ]
    ordinal = missing_from(intent.service, replica)
    if ordinal is not None and intent.can_make(replica.revision):
        reason = f"{len(replica.members)} of {replica.size} pods are there"
        mended.actions.append(
            Create(replica.role, replica.revision, ordinal, replica.track, reason, replica.alternative)
        )


def loss(replica: Replica, policy: GangPolicy) -> str:
    """Why all of a replica has to be made anew; empty where it need not."""
    ended = [m for m in replica.members if m.failed]
    if len(ended) == len(replica.members) and ended:
        return f"{ended[0].name} has ended{_cause(ended[0])}"
    if policy != "Gang" or replica.size == 1:
        return ""
    if ended:
        return f"{ended[0].name} has ended{_cause(ended[0])}, and its gang with it"
    deleted = next((m for m in replica.members if m.deleting), None)
    if deleted is not None:
        return f"{deleted.name} was deleted, and its gang goes with it"
    if len(replica.members) < replica.size and any(m.node for m in replica.members):
        return f"{replica.size - len(replica.members)} of {replica.size} pods are gone, and their gang goes with them"
    restarted = _restarted_after_start(replica.members)
    if restarted is not None and len(replica.members) >= replica.size:
        return f"{restarted.name} was restarted{_cause(restarted)}, and its gang with it"
    return ""


def missing_from(service: str, replica: Replica) -> int | None:
    """The number of a replica that lacks pods which may be made; None where there is nothing to make."""
    if len(replica.members) >= replica.size or not replica.name.rpartition("-")[2].isdigit():
        return None
    ordinal = replica.ordinal
    is_ours = replica.name == replica_name(service, replica.role, replica.revision, ordinal)
    return ordinal if is_ours else None


def _restarted_after_start(members: Sequence[Member]) -> Member | None:
    """A member that was restarted when all others had started. One that waits to start again was so just now."""
    for member in members:
        if not member.restarts:
            continue
        others = [m.started_s for m in members if m is not member]
        if any(s is None for s in others):
            continue
        if member.started_s is None or all(member.started_s >= s for s in others if s is not None):
            return member
    return None


def _cause(member: Member) -> str:
    if not member.terminated:
        return ""
    return f" ({member.terminated}{'' if member.exit_code is None else f', exit code {member.exit_code}'})"
