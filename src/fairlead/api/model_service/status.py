"""What a ModelService's status says."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fairlead.api.kind import ATOMIC, OBSERVED_GENERATION, Conditions, Kind, list_map
from fairlead.api.model_service.workload import RoleName
from fairlead.api.structural import told


class RoleStatus(Kind):
    """How one role stands."""

    name: Annotated[RoleName, told("Which role.")]
    desired: Annotated[int, told("How many replicas there are to be.")] = 0
    replicas: Annotated[int, told("How many there are.")] = 0
    ready: Annotated[int, told("Of these, how many serve.")] = 0
    updated: Annotated[int, told("Of these, how many are of the wanted template.")] = 0
    draining: Annotated[int, told("How many get nothing new and finish what they have.")] = 0
    selector: Annotated[str, told("Label selector of its pods.")] = ""
    accelerators: Annotated[dict[str, int], told("Alternative to replicas that run on it.")] = {}
    message: Annotated[str, told("What it waits for; empty for nothing.")] = ""


class Comparison(Kind):
    """How the new version does in one measure."""

    measure: Annotated[str, told("errorRate, ttft, itl or outputLength.")]
    verdict: Annotated[str, told("Undecided, AsGood or Worse.")]
    difference_percent: Annotated[float, told("Of the new version; positive is worse.")] = 0.0
    uncertainty_percent: Annotated[float, told("Half the width of its 95 % interval.")] = 0.0
    requests: Annotated[int, told("Of the new version, that were compared.")] = 0
    stable_requests: Annotated[int, told("Of the stable version.")] = 0
    message: Annotated[str, told("The verdict as a sentence.")] = ""
    remaining_requests: Annotated[
        int | None, told("Of the new version, until it is told in the mean if it is as good; none where it is decided.")
    ] = None
    remaining_seconds: Annotated[int | None, told("The same at the present rate.")] = None


class RolloutStatus(Kind):
    """Where a change of the template stands."""

    phase: Annotated[str, told("Stable, Progressing, Paused, Promoting, Reverted, Stuck.")] = "Stable"
    step: Annotated[int, told("Of the canary, from 0.")] = 0
    weight: Annotated[int, told("Percent of the traffic that the new version gets.")] = 0
    started_at: Annotated[str, told("When the change was seen.")] = ""
    step_started_at: Annotated[str, told("When the step began.")] = ""
    last_progress_at: Annotated[str, told("When something came forward last; see progressDeadlineSeconds.")] = ""
    resumed_step: Annotated[int, told("Last step at which a person said go on.")] = -1
    message: Annotated[str, told("Where it stands, as a sentence.")] = ""
    analysis: Annotated[list[Comparison], told("By measure.", ATOMIC)] = []


class RecoveryRecord(Kind):
    """Something that broke, and what was done."""

    time: Annotated[str, told("When it was found.")]
    replica: Annotated[str, told("Which replica.")]
    cause: Annotated[str, told("What broke, as one word.")]
    action: Annotated[str, told("What was done, as one word.")]
    message: Annotated[str, told("Both as a sentence.")] = ""
    node: Annotated[str, told("Where it was.")] = ""
    role: Annotated[str, told("Of the replica.")] = ""


class ModelStatus(Kind):
    """The model as it was found."""

    digest: Annotated[str, told("Of its content, where the source has one.")] = ""
    bytes: Annotated[int, told("Size of its weights; 0 where nobody knows.")] = 0
    architecture: Annotated[str, told("As its config.json names it.")] = ""
    message: Annotated[str, told("What is wrong with it, or not known.")] = ""


class ModelServiceStatus(Kind):
    """What is there now. `replicas` counts in the unit of `spec.replicas`: with roles, complete sets of them."""

    observed_generation: Annotated[int, told(OBSERVED_GENERATION)] = 0
    replicas: Annotated[int, told("How many replicas there are.")] = 0
    ready_replicas: Annotated[int, told("Of these, how many serve.")] = 0
    updated_replicas: Annotated[int, told("Of these, how many are of the wanted template.")] = 0
    selector: Annotated[str, told("Label selector of the service's pods.")] = ""
    runtime: Annotated[str, told("The ServingRuntime that was chosen.")] = ""
    revision: Annotated[str, told("Hash of the template that serves.")] = ""
    update_revision: Annotated[str, told("Hash of the template that is wanted.")] = ""
    rejected_revision: Annotated[str, told("Hash of one that was tried and taken back.")] = ""
    collision_count: Annotated[int, told("How often a hash met another template with the same.")] = 0
    roles: Annotated[list[RoleStatus], told("By role.", list_map("name"))] = []
    rollout: RolloutStatus | None = None
    recoveries: Annotated[list[RecoveryRecord], told("The last ones.", ATOMIC)] = []
    model: ModelStatus | None = None
    warnings: Annotated[list[str], told("What speaks against the wanted template though it can run.", ATOMIC)] = []
    conditions: Conditions = msgspec.field(default_factory=list)
