"""The next step of a service's replicas: from what is to be and what is there to what to do now. Pure.

Called again with fresh observations it comes to rest, from any state. What holds at every step:

- A role has at least `desired - unavailable` ready replicas as long as that is in our hands, both generations counted.
- Nothing is made beyond `desired + surge` (beyond both numbers of a trial).
- Roles of one generation grow and leave in sets (`ratio`), so that no engine is left without its counterpart.
- What serves is drained, what does not is deleted.
- A name is used again only when its pods are gone.
- What is there already (a replica that still drains) is taken back before anything is made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.api.model_service import RoleName
from fairlead.serving.actions import Action, Create, Delete, Drain, Step, Undrain
from fairlead.serving.observed import Snapshot
from fairlead.serving.rollout.arrive import Wanted, arrive, names_in_use
from fairlead.serving.rollout.availability import Availability
from fairlead.serving.rollout.generations import RoleFleet, fleets_of, ready, sound
from fairlead.serving.rollout.goals import Goal, Standing, availability, goal, order_of, standing
from fairlead.serving.rollout.intent import Intent, RoleIntent
from fairlead.serving.rollout.leave import REPLACED, SCALED_DOWN, TAKEN_BACK, Leaving, leave
from fairlead.serving.rollout.members import complete
from fairlead.serving.rollout.ratio import Sets
from fairlead.serving.rollout.tracks import moves


def plan_rollout(intent: Intent, snapshot: Snapshot) -> Step:
    """One step towards `intent`; no actions where nothing is to be done now."""
    fleets = fleets_of(intent, snapshot.replicas)
    sets = Sets.of(intent.roles)
    at = standing(intent, sets, fleets)
    goals = {r.role: goal(intent, sets, r, fleets[r.role], at) for r in intent.roles}
    actions: list[Action] = []
    for role in intent.roles:
        fleet, of_role = fleets[role.role], goals[role.role]
        free = availability(intent, sets, role.role, fleet, of_role, at)
        actions += leave(fleet, _leaving(intent, sets, role, of_role, at, snapshot.now_s), free)
    for name, fleet in fleets.items():
        if name not in sets.roles:
            actions += _retire(intent, fleet, at, snapshot.now_s)
    for fleet in fleets.values():
        actions += complete(intent, fleet.counted)
    names = names_in_use(snapshot.replicas)
    numbers = _numbers(intent, sets, fleets, goals, at)
    for role in intent.roles:
        actions += _arrivals(intent, role, fleets[role.role], goals[role.role], numbers[role.role], names)
    for role in intent.roles:
        actions += moves(intent, role, fleets[role.role])
    return Step(tuple(actions), _reason(intent, at, actions))


def _leaving(intent: Intent, sets: Sets, role: RoleIntent, goal: Goal, at: Standing, now_s: float) -> Leaving:
    target = intent.target
    why = {revision: f"{REPLACED} {target}" for revision in goal.keep if revision != target}
    if intent.rejected and intent.rejected != target:
        why[intent.rejected] = f"{TAKEN_BACK}: revision {intent.rejected} was rejected"
    why[target] = f"{SCALED_DOWN} to {role.desired}"
    if intent.is_trial or intent.paused:
        why[intent.stable] = f"{SCALED_DOWN} to {goal.keep.get(intent.stable, 0)}"
    return Leaving(
        keep=goal.keep,
        why=why,
        new=target,
        now_s=now_s,
        drops_placeless=at.is_proven and not intent.is_trial and not intent.paused,
        desired=role.desired,
        has_surge=goal.limit > role.desired,
    )


def _retire(intent: Intent, fleet: RoleFleet, at: Standing, now_s: float) -> list[Action]:
    """Replicas of a role that the target does not have serve until the target does so without them."""
    if not at.is_whole or intent.is_trial or intent.paused:
        return []
    keep = {revision: 0 for revision in order_of(intent, fleet)}
    why = {revision: f"{REPLACED} {intent.target}, which has no role {fleet.role}" for revision in keep}
    return leave(fleet, Leaving(keep, why, intent.target, now_s), Availability(ready(fleet.counted), 0, 0))


def _numbers(
    intent: Intent,
    sets: Sets,
    fleets: Mapping[RoleName, RoleFleet],
    goals: Mapping[RoleName, Goal],
    at: Standing,
) -> dict[RoleName, dict[str, int]]:
    """How many sound replicas of each revision each role is to have after this step. Those that have left by this step
    give room."""
    if intent.is_trial or intent.paused:
        return {role: dict(of_role.keep) for role, of_role in goals.items()}
    refills = {role: _refill(intent, sets, role, fleets[role], at) for role in goals}
    room: dict[RoleName, int] = {}
    for role, of_role in goals.items():
        fleet = fleets[role]
        broken = len(fleet.of(intent.target)) - len(sound(fleet.of(intent.target)))
        room[role] = of_role.limit - len(fleet.before(intent.target)) - refills[role] - broken
    grown = sets.at_most(room)
    if not at.is_proven:
        grown = min(grown, max(1, sets.surge + sets.unavailable))
    return {
        role: {
            intent.stable: len(sound(fleets[role].of(intent.stable))) + refills[role],
            intent.target: sets.share(role, grown),
        }
        for role in goals
    }


def _refill(intent: Intent, sets: Sets, role: RoleName, fleet: RoleFleet, at: Standing) -> int:
    """How many replicas of the stable revision are made in place of lost ones while the target has not shown that it
    serves: a rollout that fails must not eat up the version that works."""
    if at.is_proven or not intent.can_make(intent.stable):
        return 0
    if intent.stable_roles is not None and role not in intent.stable_roles:
        return 0
    missing = sets.old(role, 0) - len(sound(fleet.before(intent.target)))
    return max(0, min(missing, sets.limit(role) - len(fleet.counted)))


def _arrivals(
    intent: Intent, role: RoleIntent, fleet: RoleFleet, goal: Goal, numbers: Mapping[str, int], names: set[str]
) -> list[Action]:
    actions: list[Action] = []
    room = goal.limit - len(fleet.counted)
    for revision in sorted(numbers, key=lambda r: (r == intent.target, r != intent.stable, r)):
        there = fleet.of(revision)
        number = max(0, min(numbers[revision] - len(sound(there)), room))
        is_new = revision == intent.target
        reason = f"{len(there)} of {numbers[revision]} replicas of revision {revision} are there"
        canary = number if is_new and intent.is_trial else 0
        if is_new and not intent.is_trial and intent.target != intent.stable:
            canary = max(0, role.canary - sum(r.track == "canary" for r in there))
        wanted = Wanted(role.role, revision, number, canary, role.alternative, reason)
        arriving = arrive(intent, fleet, wanted, names)
        room -= len(arriving)
        actions += arriving
    return actions


@dataclass(frozen=True, slots=True)
class _Counts:
    made: int
    back: int
    left: int


def _reason(intent: Intent, at: Standing, actions: list[Action]) -> str:
    """One sentence on the step; empty where there is none."""
    if not actions:
        return ""
    counts = _Counts(
        sum(isinstance(a, Create) for a in actions),
        sum(isinstance(a, Undrain) for a in actions),
        sum(isinstance(a, (Drain, Delete)) for a in actions),
    )
    said = [f"{number} {verb}" for number, verb in (
        (counts.made, "made"), (counts.back, "taken back"), (counts.left, "let go")
    ) if number]  # fmt: skip
    return f"revision {intent.target}: {at.done} of {at.total} sets serve; " + (", ".join(said) or "moved")
