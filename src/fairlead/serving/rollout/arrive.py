"""Which replicas come in this step: those that leave and may be had back, else new ones. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fairlead.api.model_service import RoleName
from fairlead.serving.actions import Action, Create, Undrain
from fairlead.serving.names import member_name, replica_name
from fairlead.serving.observed import Replica, Track
from fairlead.serving.rollout.generations import RoleFleet
from fairlead.serving.rollout.intent import Intent
from fairlead.serving.rollout.leave import OWN_REASONS
from fairlead.serving.rollout.order import least_harm_first


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many more replicas of a revision."""

    role: RoleName
    revision: str
    number: int
    canary: int
    """How many of them are for the canary's pool."""
    alternative: str
    reason: str


def arrive(intent: Intent, fleet: RoleFleet, wanted: Wanted, names: Collection[str]) -> list[Action]:
    """Replicas that leave of their own revision are taken back first, those first that would be the greatest loss: they
    have their model in memory, which costs a new one minutes. Only such are taken back that were let go because there
    were too many, that are whole and that nothing is wrong with."""
    if wanted.number <= 0 or not intent.can_make(wanted.revision):
        return []
    back = [r for r in reversed(least_harm_first(fleet.leaving)) if may_return(r, wanted.revision)][: wanted.number]
    actions: list[Action] = [Undrain(r.name, wanted.reason) for r in back]
    number = wanted.number - len(back)
    for i, ordinal in enumerate(free_ordinals(intent, wanted.role, wanted.revision, number, names)):
        track: Track = "canary" if i < wanted.canary else "stable"
        actions.append(Create(wanted.role, wanted.revision, ordinal, track, wanted.reason, wanted.alternative))
    return actions


def may_return(replica: Replica, revision: str) -> bool:
    """Whether a replica that leaves could serve again by the next look."""
    return (
        replica.revision == revision
        and replica.draining_s is not None
        and not replica.broken
        and replica.drain_reason.startswith(OWN_REASONS)
        and len(replica.members) == len(replica.alive) == replica.size
        and all(m.ready for m in replica.members)
    )


def free_ordinals(intent: Intent, role: RoleName, revision: str, number: int, names: Collection[str]) -> list[int]:
    """The lowest numbers whose names nobody has, pods that still terminate among them."""
    found: list[int] = []
    for ordinal in range(intent.max_ordinal + 1):
        if len(found) == number:
            break
        name = replica_name(intent.service, role, revision, ordinal)
        if name not in names:
            found.append(ordinal)
    return found


def names_in_use(replicas: Collection[Replica]) -> set[str]:
    """Names of replicas and of their leaders' pods."""
    used = {r.name for r in replicas}
    return used | {m.name for r in replicas for m in r.members} | {member_name(r.name, 0) for r in replicas}
