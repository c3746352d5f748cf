"""Rolling: the new revision replaces the others, replica by replica. Pure; what it says is `rollout.status`.

The planner does the work within its budgets. Here is only when the new revision counts as the stable one, and when the
lack of progress is too long.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from fairlead.api.model_service import Rollout, RolloutStatus
from fairlead.clock import format_time, parse_time
from fairlead.serving.rollout.intent import RoleIntent
from fairlead.serving.rollout.ratio import Sets
from fairlead.serving.rollout.trial_facts import Decision, Facts


def rolling_step(spec: Rollout, facts: Facts, now_s: float) -> Decision:
    """What is to be now."""
    roles = tuple(replace(r, stable=None, canary=0) for r in facts.roles)
    status = facts.status if facts.status is not None and facts.status_revision == facts.wanted else None
    if facts.wanted == facts.rejected and facts.stable:
        before = facts.status or RolloutStatus()
        return Decision(
            msgspec.structs.replace(before, phase="Reverted", weight=0), roles, facts.stable, facts.rejected
        )
    if status is None or status.phase in ("Reverted", "Promoting"):
        now = format_time(now_s)
        status = RolloutStatus("Progressing", started_at=now, last_progress_at=now)
    sets = Sets.of(facts.roles)
    done, total = sets.complete(facts.fleet.new), sets.total
    if done >= total and facts.fleet.old_there == 0:
        return _done(status, facts, roles, now_s)
    if facts.wanted == facts.stable and facts.fleet.old_there == 0:
        # Numbers change, or replicas are lost: nothing is rolled out.
        return Decision(msgspec.structs.replace(status, phase="Stable", weight=0), roles, facts.stable, facts.rejected)
    return _on_its_way(spec, status, facts, roles, f"{done} of {total}", now_s)


def _done(status: RolloutStatus, facts: Facts, roles: tuple[RoleIntent, ...], now_s: float) -> Decision:
    if status.phase != "Stable" or facts.stable != facts.wanted:
        status = RolloutStatus("Stable", started_at=status.started_at, last_progress_at=format_time(now_s))
    return Decision(status, roles, facts.wanted, facts.rejected)


def _on_its_way(
    spec: Rollout, status: RolloutStatus, facts: Facts, roles: tuple[RoleIntent, ...], done: str, now_s: float
) -> Decision:
    message = f"{done} replicas of revision {facts.wanted} are ready, {facts.fleet.old_there} of others are left"
    if spec.paused:
        said = f"spec.rollout.paused is set; {message}"
        paused = msgspec.structs.replace(status, phase="Paused", message=said)
        return Decision(paused, roles, facts.stable, facts.rejected)
    was_paused = status.phase == "Paused"
    if facts.progressed or was_paused or status.phase == "Stable":
        status = msgspec.structs.replace(status, last_progress_at=format_time(now_s))
    silent_s = now_s - parse_time(status.last_progress_at)
    left_s = spec.progress_deadline_seconds - silent_s
    if left_s <= 0:
        stuck = msgspec.structs.replace(status, phase="Stuck", message=f"{message}; no progress for {silent_s:.0f} s")
        return Decision(stuck, roles, facts.stable, facts.rejected)
    going = msgspec.structs.replace(status, phase="Progressing", message=message)
    return Decision(going, roles, facts.stable, facts.rejected, again_s=left_s)
