"""What a trial of a new revision is decided from, and what is decided. Values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.api.model_service import Analysis, CanaryStep, RoleName, RolloutStatus
from fairlead.api.traffic_report import asked_for
from fairlead.clock import parse_time
from fairlead.serving.observed import Replica
from fairlead.serving.rollout.intent import RoleIntent


@dataclass(frozen=True, slots=True)
class Fleet:
    """Ready replicas by role: `trial` of the new revision in the canary's pool, `new` of it in either, `old` of all
    others. `trial_there` and `old_there` also count those that are not ready."""

    trial: Mapping[RoleName, int]
    new: Mapping[RoleName, int]
    old: Mapping[RoleName, int]
    trial_there: Mapping[RoleName, int] = field(default_factory=dict)
    old_there: int = 0


def fleet_of(replicas: Sequence[Replica], new: str) -> Fleet:
    """The counts, of what is seen. What leaves does not count."""
    trial, trial_there = Counter[RoleName](), Counter[RoleName]()
    of_new, old = Counter[RoleName](), Counter[RoleName]()
    old_there = 0
    for replica in replicas:
        is_new = replica.revision == new
        if not replica.is_leaving:
            old_there += not is_new
            trial_there[replica.role] += is_new and replica.track == "canary"
        if replica.is_ready:
            (of_new if is_new else old)[replica.role] += 1
            trial[replica.role] += is_new and replica.track == "canary"
    return Fleet(trial, of_new, old, trial_there, old_there)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a step is decided from, besides the spec."""

    wanted: str
    stable: str
    """The revision that has served before; empty where none ever has."""
    roles: tuple[RoleIntent, ...]
    """Desired numbers and budgets (`stable` and `canary` are set here)."""
    fleet: Fleet
    status: RolloutStatus | None = None
    """As it was stored."""
    status_revision: str = ""
    """The revision that it is about (`status.updateRevision`)."""
    rejected: str = ""
    progressed: bool = False
    """More replicas of the wanted revision are ready than at the last look."""
    resumed: str = ""
    """Value of `names.RESUME_ANNOTATION`: `REVISION/STEP`, the step at which a person said go on."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be."""

    status: RolloutStatus
    roles: tuple[RoleIntent, ...]
    """For the planner."""
    revision: str
    """The one that counts as stable from now on."""
    rejected: str = ""
    weight: int = 0
    """Percent of the traffic for the canary's pool."""
    asked: str = ""
    """Value of the report annotation of both pools; empty = they are not to report."""
    again_s: float | None = None
    """When to look again though nothing changes."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a strategy goes about it."""

    steps: tuple[CanaryStep, ...]
    analysis: Analysis | None
    whole_fleet: bool = False
    """The new revision gets all its replicas beside the stable one's."""
    empties_first: bool = False
    """Gateways do not pass over a pool without endpoints: it gets no more traffic before its replicas leave it."""


def asked_of(status: RolloutStatus, revision: str, analysis: Analysis) -> str:
    """What the pools are asked to report: sums of their own for each share of the traffic. Only requests that begin
    while it is asked count, so that of both versions the answers that have ended are equally old: where one has got
    more requests of late, its short answers are the first to end."""
    began = int(parse_time(status.started_at)) if status.started_at else 0
    return asked_for(f"{revision}.{began}.{status.step}.{status.weight}", analysis.warm_up_requests)
