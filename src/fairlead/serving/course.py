"""What is done about one service now: every decision of serving put together, as one pure function.

    recovery -> which replicas are ill     (marks them, or has them made anew)
    rollout  -> which revisions are to be there, how many of each, which share of the traffic
    planner  -> what is made, drained, moved
    drain    -> which of those that leave may be stopped

`plot_course` is called again whenever something changes or its time is over. It remembers nothing: what has to be known
the next time is in the service's status or is seen again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead.api.model_service import ModelService, RecoveryRecord, RoleName, RolloutStatus
from fairlead.serving.actions import Action, Delete
from fairlead.serving.analysis import Verdict
from fairlead.serving.drain import Done, Waiting, drain_limits, drain_step, with_views
from fairlead.serving.observed import Replica, Snapshot
from fairlead.serving.recovery import Recovery, memory_of, recover, recovery_policy
from fairlead.serving.replicas import foreseen
from fairlead.serving.resolve.alternatives import Choice, choose_alternative
from fairlead.serving.resolved import Resolved
from fairlead.serving.rollout import Intent, RoleIntent, plan_rollout, role_budgets
from fairlead.serving.rollout.blue_green import blue_green_step
from fairlead.serving.rollout.canary import canary_step
from fairlead.serving.rollout.rolling import rolling_step
from fairlead.serving.rollout.trial_facts import Decision, Facts, fleet_of


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that is known of a service at one moment."""

    service: ModelService
    wanted: Resolved | None
    """What the spec comes to; None where it cannot be served."""
    known: Mapping[str, Resolved]
    """How pods of other revisions are made, as far as is known."""
    counts: Mapping[RoleName, int]
    """Replicas that each role is to have."""
    snapshot: Snapshot
    verdict: Verdict | None = None
    resumed: str = ""
    """Value of `names.RESUME_ANNOTATION`."""
    progressed: bool = False
    """More replicas of the wanted revision are ready than at the last look."""


@dataclass(frozen=True, slots=True)
class Course:
    """What to do, and what is so now."""

    actions: tuple[Action, ...] = ()
    reason: str = ""
    replicas: Sequence[Replica] = ()
    """As seen, with what their engines say and what recovery found."""
    stable: str = ""
    wanted: str = ""
    rejected: str = ""
    rollout: RolloutStatus = field(default_factory=RolloutStatus)
    weight: int = 0
    """Percent of the traffic of the canary's pool."""
    asked: str = ""
    """What both pools are to report."""
    has_trial: bool = False
    """Whether the canary's pool is to be there."""
    recoveries: tuple[RecoveryRecord, ...] = ()
    new_recoveries: tuple[RecoveryRecord, ...] = ()
    hold: str = ""
    """Why recovery waits, of the gravest symptom."""
    again_s: float | None = None


def plot_course(look: Look) -> Course:
    """One look at one service."""
    status = look.service.status
    snapshot = replace(look.snapshot, replicas=with_views(look.snapshot.replicas, look.snapshot.engines))
    target = look.wanted or look.known.get(status.revision)
    if target is None:
        return _without_target(look, snapshot)
    found = _recover(look, target, snapshot)
    choices = _choices(look, target, found.snapshot)
    first = (*found.step.actions, *_tried_elsewhere(choices))
    ill = foreseen(found.snapshot, first)
    decision = _decide(look, target, ill, choices)
    intent = _intent(look, target, decision)
    planned = plan_rollout(intent, ill)
    stopped, drain_again_s = _stop_drained(look, target, ill, planned.actions)
    trial = _needs_canary_pool(ill.replicas, decision, planned.actions)
    return Course(
        actions=(*first, *planned.actions, *stopped),
        reason="; ".join(text for text in (found.step.reason, planned.reason) if text),
        replicas=ill.replicas,
        stable=decision.revision,
        wanted=look.wanted.revision if look.wanted is not None else status.update_revision,
        rejected=decision.rejected,
        rollout=decision.status,
        weight=decision.weight,
        asked=decision.asked,
        has_trial=trial,
        recoveries=found.memory.records,
        new_recoveries=found.records,
        hold=next((f.text for f in found.findings), ""),
        again_s=_earliest(
            found.step.again_s, planned.again_s, decision.again_s, drain_again_s, *(c.again_s for c in choices.values())
        ),
    )


def _without_target(look: Look, snapshot: Snapshot) -> Course:
    """Nothing can be made: what is there stays, and what leaves may still end."""
    status = look.service.status
    return Course(
        replicas=snapshot.replicas,
        stable=status.revision,
        wanted=status.update_revision,
        rejected=status.rejected_revision,
        rollout=status.rollout or RolloutStatus(),
        recoveries=tuple(status.recoveries),
    )


def _recover(look: Look, target: Resolved, snapshot: Snapshot) -> Recovery:
    limits = {
        role: limit
        for role, resolved in target.roles.items()
        if (limit := _memory_limit(resolved.ways[0].leader["spec"]))
    }
    policy = recovery_policy(
        look.service.spec.recovery,
        look.counts,
        startup_s=float(target.engine.readiness.startup_timeout_s),
        memory_limit=limits,
    )
    return recover(snapshot, policy, memory_of(look.service.status.recoveries))


def _memory_limit(spec: Mapping[str, object]) -> str:
    containers = spec.get("containers")
    if not isinstance(containers, (list, tuple)) or not containers:
        return ""
    return str(((containers[0].get("resources") or {}).get("limits") or {}).get("memory", ""))


def _choices(look: Look, target: Resolved, snapshot: Snapshot) -> dict[RoleName, Choice]:
    """On which accelerators new replicas of each role are made."""
    current = [r for r in snapshot.replicas if r.revision == target.revision]
    elsewhere_s = float(look.service.spec.recovery.elsewhere_seconds)
    return {
        role: choose_alternative(resolved, current, elsewhere_s, snapshot.now_s)
        for role, resolved in target.roles.items()
    }


def _tried_elsewhere(choices: Mapping[RoleName, Choice]) -> list[Delete]:
    """Replicas without a place give way to ones on other accelerators, which the planner makes."""
    return [
        Delete(replica, f"it got no place on its accelerators; {alternative} is next")
        for choice in choices.values()
        for replica, alternative in sorted(choice.moves.items())
    ]


def _decide(look: Look, target: Resolved, snapshot: Snapshot, choices: Mapping[RoleName, Choice]) -> Decision:
    spec, status = look.service.spec.rollout, look.service.status
    facts = Facts(
        wanted=target.revision,
        stable=status.revision,
        roles=_role_intents(look, target, choices),
        fleet=fleet_of(snapshot.replicas, target.revision),
        status=status.rollout,
        status_revision=status.update_revision,
        rejected=status.rejected_revision,
        progressed=look.progressed,
        resumed=look.resumed,
    )
    if spec.strategy == "Rolling":
        return rolling_step(spec, facts, snapshot.now_s)
    step = canary_step if spec.strategy == "Canary" else blue_green_step
    return step(spec, facts, look.verdict, snapshot.now_s)


def _role_intents(look: Look, target: Resolved, choices: Mapping[RoleName, Choice]) -> tuple[RoleIntent, ...]:
    spec = look.service.spec
    desired = {role: look.counts.get(role, 0) for role in target.roles}
    budgets = role_budgets(spec.rollout.max_surge, spec.rollout.max_unavailable, desired)
    return tuple(
        RoleIntent(role, desired[role], budgets[role].surge, budgets[role].unavailable, alternative=choices[role].next)
        for role in target.roles
    )


def _intent(look: Look, target: Resolved, decision: Decision) -> Intent:
    spec = look.service.spec
    stable = look.known.get(decision.revision)
    return Intent(
        service=look.service.name,
        wanted=target.revision,
        roles=decision.roles,
        stable=decision.revision,
        rejected=decision.rejected,
        paused=spec.rollout.paused,
        gang=spec.recovery.policy,
        stable_roles=frozenset(stable.roles) if stable is not None else None,
        makeable=frozenset((*look.known, target.revision)),
    )


def _stop_drained(
    look: Look, target: Resolved, snapshot: Snapshot, planned: Sequence[Action]
) -> tuple[list[Action], float | None]:
    """Deletes those that leave and may, and says when to look at the others again."""
    spec = look.service.spec
    spoken_for = {a.replica for a in planned if not hasattr(a, "ordinal")}
    actions: list[Action] = []
    waits: list[float] = []
    for replica in snapshot.replicas:
        if replica.draining_s is None or not replica.alive or replica.name in spoken_for:
            continue
        limits = drain_limits(spec.drain, float(spec.termination_grace_period_seconds), target.engine, replica.role)
        outcome = drain_step(replica, limits, snapshot.now_s)
        if isinstance(outcome, Done):
            reason = f"{replica.drain_reason}; {outcome.reason}" if replica.drain_reason else outcome.reason
            actions.append(Delete(replica.name, reason))
        elif isinstance(outcome, Waiting):
            waits.append(outcome.again_s)
    return actions, min(waits, default=None)


def _needs_canary_pool(replicas: Sequence[Replica], decision: Decision, planned: Sequence[Action]) -> bool:
    """As long as something is in it, or is to be."""
    return (
        decision.weight > 0
        or any(role.canary for role in decision.roles)
        or any(r.track == "canary" for r in replicas)
        or any(getattr(a, "track", "") == "canary" for a in planned)
    )


def _earliest(*times_s: float | None) -> float | None:
    return min((t for t in times_s if t is not None), default=None)
