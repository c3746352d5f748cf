"""Which of the service's two pools each replica is in. Pure.

Replicas move while they run: a canary that is promoted becomes stable without a restart.
"""

from __future__ import annotations

from fairlead.serving.actions import Action, MoveTrack
from fairlead.serving.observed import Replica
from fairlead.serving.rollout.generations import RoleFleet
from fairlead.serving.rollout.intent import Intent, RoleIntent


def moves(intent: Intent, role: RoleIntent, fleet: RoleFleet) -> list[Action]:
    """What has to change pools. Replicas of other revisions than target and stable stay where they are until they
    leave."""
    target, stable = intent.target, intent.stable
    actions: list[Action] = []
    new = fleet.of(target)
    on_trial = target != stable
    wanted = len(new) if intent.is_trial else role.canary if on_trial else 0
    # Ready ones go to where they are most wanted: the first that stay in a pool that is not to be empty, and then the
    # first that are moved.
    there = sorted((r for r in new if r.track == "canary"), key=_best_first)
    elsewhere = sorted((r for r in new if r.track != "canary"), key=_best_first)
    actions += [MoveTrack(r.name, "stable", f"revision {target} is promoted") for r in there[wanted:]]
    missing = max(0, wanted - len(there))
    actions += [MoveTrack(r.name, "canary", f"revision {target} is on trial") for r in elsewhere[:missing]]
    if on_trial:
        actions += [
            MoveTrack(r.name, "stable", f"revision {stable} is the stable one")
            for r in fleet.of(stable)
            if r.track == "canary"
        ]
    return actions


def _best_first(replica: Replica) -> tuple[bool, str]:
    return (not replica.is_ready, replica.name)
