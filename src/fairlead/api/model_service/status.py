"""What a ModelService's status says."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fairlead.api.kind import ATOMIC, Conditions, Kind, list_map
from fairlead.api.model_service.workload import RoleName
from fairlead.api.structural import told


class RoleStatus(Kind):
    """How one role stands."""

    name: RoleName
    desired: int = 0
    replicas: int = 0
    ready: int = 0
    updated: int = 0
    draining: int = 0
    selector: str = ""
    accelerators: Annotated[dict[str, int], told("Alternative to replicas that run on it.")] = {}
    message: str = ""


class Comparison(Kind):
    """How the new version does in one measure."""

    measure: str
    verdict: Annotated[str, told("Undecided, AsGood or Worse.")]
    difference_percent: Annotated[float, told("Of the new version; positive is worse.")] = 0.0
    uncertainty_percent: Annotated[float, told("Half the width of its 95 % interval.")] = 0.0
    requests: int = 0
    """Of the new version."""
    stable_requests: int = 0
    message: str = ""


class RolloutStatus(Kind):
    """Where a change of the template stands."""

    phase: Annotated[str, told("Stable, Progressing, Paused, Promoting, Reverted, Stuck.")] = "Stable"
    step: int = 0
    """Of the canary, from 0."""
    weight: Annotated[int, told("Percent of the traffic that the new version gets.")] = 0
    started_at: str = ""
    step_started_at: str = ""
    last_progress_at: str = ""
    resumed_step: Annotated[int, told("Last step at which a person said go on.")] = -1
    message: str = ""
    analysis: Annotated[list[Comparison], told("By measure.", ATOMIC)] = []


class RecoveryRecord(Kind):
    """Something that broke, and what was done."""

    time: str
    replica: str
    cause: str
    action: str
    message: str = ""
    node: Annotated[str, told("Where it was.")] = ""


class ModelStatus(Kind):
    """The model as it was found."""

    digest: str = ""
    bytes: int = 0
    architecture: str = ""
    message: str = ""


class ModelServiceStatus(Kind):
    """What is there now. `replicas` counts in the unit of `spec.replicas`: with roles, complete sets of them."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    selector: str = ""
    runtime: Annotated[str, told("The ServingRuntime that was chosen.")] = ""
    revision: Annotated[str, told("Hash of the template that serves.")] = ""
    update_revision: Annotated[str, told("Hash of the template that is wanted.")] = ""
    rejected_revision: Annotated[str, told("Hash of one that was tried and taken back.")] = ""
    collision_count: int = 0
    roles: Annotated[list[RoleStatus], told("By role.", list_map("name"))] = []
    rollout: RolloutStatus | None = None
    recoveries: Annotated[list[RecoveryRecord], told("The last ones.", ATOMIC)] = []
    model: ModelStatus | None = None
    conditions: Conditions = msgspec.field(default_factory=list)
