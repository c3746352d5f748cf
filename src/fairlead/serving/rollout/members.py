"""Replicas that lack pods which may simply be made. Pure.

What the loss of a pod costs is recovery's to say (`recovery.policy`, with its budgets and back-off): of a gang, all are
made anew. Here is what is left: a replica that was never made in full, because its controller was stopped or a pod was
refused, and, with policy `Member`, the pods of a replica that are gone.

The place of a replica that was deleted is taken by a new one with another number at once, not after the old pods have
ended: they may take minutes, or never end on a node that is gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.serving.actions import Create
from fairlead.serving.names import replica_name
from fairlead.serving.observed import Replica
from fairlead.serving.rollout.intent import GangPolicy, Intent


def complete(intent: Intent, replicas: Iterable[Replica]) -> list[Create]:
    """Orders to make missing pods of replicas that stay."""
    return [
        Create(r.role, r.revision, r.ordinal, r.track, f"{len(r.members)} of {r.size} pods are there", r.alternative)
        for r in sorted(replicas, key=lambda r: r.name)
        if may_complete(r, intent.gang) and is_ours(intent.service, r) and intent.can_make(r.revision)
    ]


def may_complete(replica: Replica, policy: GangPolicy) -> bool:
    """Whether pods are missing that can join the others. Pods of a gang that have places were all there once: one that
    is missing is lost, and no other takes its part. Pods that still end keep their names."""
    if replica.is_leaving or len(replica.members) >= replica.size:
        return False
    if policy == "Member":
        return True
    return all(not m.node and not m.deleting and not m.failed for m in replica.members)


def is_ours(service: str, replica: Replica) -> bool:
    """Whether a replica has a name that we give, so that more pods can be made under it."""
    number = replica.name.rpartition("-")[2]
    return number.isdecimal() and replica.name == replica_name(service, replica.role, replica.revision, int(number))
