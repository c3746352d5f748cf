"""The status of a ModelService from what is seen of it. Pure; nothing in it is wished, everything observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairlead.api.model_service import (
    Condition,
    ModelService,
    ModelServiceStatus,
    ModelStatus,
    RecoveryRecord,
    RoleName,
    RoleStatus,
    RolloutStatus,
)
from fairlead.serving.names import ROLE_LABEL, SERVICE_LABEL
from fairlead.serving.observed import Replica

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why what is wanted cannot be made at all. `reason` is CamelCase, `message` names field, value and remedy."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RoleSeen:
    """One role: how many are wanted, and which there are."""

    name: RoleName
    desired: int
    per_unit: int
    """Replicas of the role for each of the service's `replicas`."""
    replicas: Sequence[Replica]

    @property
    def counted(self) -> list[Replica]:
        return [r for r in self.replicas if not r.is_leaving]


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that a status is made from."""

    service: ModelService
    roles: Sequence[RoleSeen]
    runtime: str = ""
    revision: str = ""
    update_revision: str = ""
    rejected_revision: str = ""
    rollout: RolloutStatus = field(default_factory=RolloutStatus)
    problem: Problem | None = None
    trouble: str = ""
    """Why the first replica in trouble does not serve, in its own words."""
    hold: str = ""
    """Why recovery or the planner waits."""
    recoveries: Sequence[RecoveryRecord] = ()
    model: ModelStatus | None = None
    warnings: Sequence[str] = ()
    """Of what is wanted."""


def compute_status(seen: Standing, now: str) -> Json:
    """The whole status as it goes to the API; `now` is RFC 3339. Times of conditions that stay as they are stay too."""
    service = seen.service
    roles = [_role_status(service, role, seen) for role in seen.roles]
    conditions = _conditions(seen, roles)
    old = {c.type: c for c in service.status.conditions}
    for c in conditions:
        before = old.get(c.type)
        kept = before is not None and before.status == c.status and before.last_transition_time
        c.last_transition_time = before.last_transition_time if before is not None and kept else now
        c.observed_generation = service.generation
    status = ModelServiceStatus(
        observed_generation=service.generation,
        replicas=_units(seen, [len(r.counted) for r in seen.roles]),
        ready_replicas=_units(seen, [r.ready for r in roles]),
        updated_replicas=_units(seen, [r.updated for r in roles]),
        selector=f"{SERVICE_LABEL}={service.name}",
        runtime=seen.runtime,
        revision=seen.revision,
        update_revision=seen.update_revision,
        rejected_revision=seen.rejected_revision,
        roles=roles,
        rollout=seen.rollout,
        recoveries=list(seen.recoveries),
        model=seen.model,
        warnings=list(seen.warnings),
    )
    # kubectl, wait and printer columns read these: zeros and all.
    always: Json = {
        "observedGeneration": service.generation,
        "replicas": status.replicas,
        "readyReplicas": status.ready_replicas,
        "updatedReplicas": status.updated_replicas,
    }
    built: Json = msgspec.to_builtins(status)
    built["conditions"] = [{"message": "", **msgspec.to_builtins(c)} for c in conditions]
    built["roles"] = [_whole_role(r) for r in roles]
    return {**always, **built}


def role_selector(service: str, role: RoleName) -> str:
    """Label selector of the pods of one role."""
    return f"{SERVICE_LABEL}={service},{ROLE_LABEL}={role}"


def _whole_role(role: RoleStatus) -> Json:
    return {"desired": role.desired, "replicas": role.replicas, "ready": role.ready, "updated": role.updated,
            **msgspec.to_builtins(role)}  # fmt: skip


def _role_status(service: ModelService, role: RoleSeen, seen: Standing) -> RoleStatus:
    counted = role.counted
    on: Mapping[str, int] = Counter(r.alternative for r in counted if r.alternative)
    return RoleStatus(
        name=role.name,
        desired=role.desired,
        replicas=len(counted),
        ready=sum(r.is_ready for r in counted),
        updated=sum(r.revision == seen.update_revision for r in counted),
        draining=len(role.replicas) - len(counted),
        selector=role_selector(service.name, role.name),
        accelerators=dict(on),
    )


def _units(seen: Standing, counts: Sequence[int]) -> int:
    """Complete sets of roles, the unit of `spec.replicas`."""
    sets = [count // role.per_unit for role, count in zip(seen.roles, counts, strict=True) if role.per_unit]
    return min(sets, default=0)


def _conditions(seen: Standing, roles: Sequence[RoleStatus]) -> list[Condition]:
    endpoints = _endpoints_ready(seen, roles)
    return [
        _placed(seen, roles),
        _model_ready(seen, roles),
        endpoints,
        _rolled_out(seen, roles),
        _ready(seen, endpoints),
    ]


def _placed(seen: Standing, roles: Sequence[RoleStatus]) -> Condition:
    members = [m for role in seen.roles for r in role.counted for m in r.alive]
    unplaced = [m for m in members if not m.node]
    stuck = next((m for m in unplaced if m.unschedulable), None)
    if stuck is not None:
        said = f"{len(members) - len(unplaced)} of {len(members)} pods have a node; {stuck.name}: {stuck.unschedulable}"
        return _no("Placed", "Unschedulable", said)
    missing = [r for r in roles if r.replicas < r.desired]
    if missing and seen.problem is not None:
        return _no("Placed", seen.problem.reason, seen.problem.message)
    if missing:
        return _no("Placed", "WaitingForReplicas", _counts(missing, "exist", [r.replicas for r in missing]))
    if unplaced:
        return _no("Placed", "Scheduling", f"{len(unplaced)} of {len(members)} pods wait for a node")
    return _yes("Placed", "AllPlaced", f"{len(members)} pods have a node")


def _model_ready(seen: Standing, roles: Sequence[RoleStatus]) -> Condition:
    unloaded = [r for r in roles if r.desired and not any(x.is_ready for x in _of(seen, r.name))]
    if not unloaded:
        where = ", ".join(f"{r.ready} {r.name}" for r in roles)
        said = f"engines that have the model: {where}" if any(r.desired for r in roles) else "no engine is wanted"
        return _yes("ModelReady", "Loaded", said)
    names = ", ".join(r.name for r in unloaded)
    if seen.problem is not None:
        return _no("ModelReady", seen.problem.reason, seen.problem.message)
    if seen.trouble:
        return _no("ModelReady", "LoadFailed", f"no {names} engine has the model; {seen.hold or seen.trouble}")
    return _no("ModelReady", "Loading", f"no {names} engine has loaded the model yet")


def _endpoints_ready(seen: Standing, roles: Sequence[RoleStatus]) -> Condition:
    short = [r for r in roles if r.ready < r.desired]
    if not short:
        return _yes("EndpointsReady", "AllReplicasReady", _counts(roles, "are ready", [r.ready for r in roles]))
    said = _counts(short, "are ready", [r.ready for r in short])
    if seen.trouble:
        # What recovery says of it names the cause and what is done.
        return _no("EndpointsReady", "ReplicaInTrouble", f"{said}; {seen.hold or seen.trouble}")
    if seen.hold:
        return _no("EndpointsReady", "Waiting", f"{said}; {seen.hold}")
    return _no("EndpointsReady", "WaitingForReplicas", said)


def _rolled_out(seen: Standing, roles: Sequence[RoleStatus]) -> Condition:
    rollout = seen.rollout
    if seen.problem is not None:
        return _no("RolledOut", seen.problem.reason, seen.problem.message)
    if rollout.phase in ("Reverted", "Stuck", "Paused"):
        return _no("RolledOut", rollout.phase, rollout.message or f"the rollout is {rollout.phase.lower()}")
    done = all(r.updated == r.replicas == r.desired == r.ready for r in roles) and rollout.phase == "Stable"
    current = [sum(x.is_ready and x.revision == seen.update_revision for x in _of(seen, r.name)) for r in roles]
    said = _counts(roles, "run the current template", current)
    if done:
        return _yes("RolledOut", "Complete", said)
    return _no("RolledOut", "InProgress", f"{said}; {rollout.message}" if rollout.message else said)


def _ready(seen: Standing, endpoints: Condition) -> Condition:
    if seen.problem is not None:
        serving = endpoints.status == "True" and any(role.desired for role in seen.roles)
        still = "; the former version still serves" if serving and seen.revision else ""
        return _no("Ready", seen.problem.reason, f"{seen.problem.message}{still}")
    return Condition("Ready", endpoints.status, endpoints.reason, endpoints.message)


def _of(seen: Standing, name: RoleName) -> list[Replica]:
    return [x for role in seen.roles if role.name == name for x in role.counted]


def _counts(roles: Sequence[RoleStatus], what: str, counts: Sequence[int]) -> str:
    if len(roles) == 1 and roles[0].name == "unified":
        return f"{counts[0]} of {roles[0].desired} replicas {what}"
    each = ", ".join(f"{n} of {r.desired} {r.name}" for r, n in zip(roles, counts, strict=True))
    return f"{each} replicas {what}"


def _yes(kind: str, reason: str, message: str) -> Condition:
    return Condition(kind, "True", reason, message)


def _no(kind: str, reason: str, message: str) -> Condition:
    return Condition(kind, "False", reason, message)
