"""Labels, annotations and names by which serving's objects find each other. Every module takes them from here."""

from __future__ import annotations

from typing import Final

SERVICE_LABEL: Final = "fairlead.dev/model-service"
ROLE_LABEL: Final = "fairlead.dev/role"
REVISION_LABEL: Final = "fairlead.dev/revision"
"""Hash of the templates of all roles: generations of roles belong together."""
REPLICA_LABEL: Final = "fairlead.dev/replica"
"""Name of the replica, which is that of its leader's pod; the same as `fairlead.dev/gang`."""
MEMBER_LABEL: Final = "fairlead.dev/member"
"""Number of the pod in its replica, the leader's is 0."""
TRACK_LABEL: Final = "fairlead.dev/track"
"""`stable` or `canary`: which of the service's pools the pod is in. Changed while it runs."""
ALTERNATIVE_LABEL: Final = "fairlead.dev/accelerator"
"""Name of the entry of `accelerators` that the replica was made for."""

GANG_LABEL: Final = "fairlead.dev/gang"
GANG_SPEC_ANNOTATION: Final = "fairlead.dev/gang-spec"
WORK_ANNOTATION: Final = "fairlead.dev/work"
QUEUE_LABEL: Final = "fairlead.dev/queue"
RECOVERY_ANNOTATION: Final = "fairlead.dev/recovery"
"""What scheduling reads, see docs/gangs.md."""

DRAINING_ANNOTATION: Final = "fairlead.dev/draining"
"""On pods: RFC 3339 time since when it gets nothing new. The gateway takes it out at once."""
DRAIN_REASON_ANNOTATION: Final = "fairlead.dev/drain-reason"
MODEL_DIGEST_ANNOTATION: Final = "fairlead.dev/model-digest"
"""On pods: digest or source of the model, by which scheduling prefers nodes that have it."""
ADOPT_LABEL: Final = "fairlead.dev/adopt"
"""On foreign Deployments, StatefulSets, LeaderWorkerSets and pods: serve their pods without owning them. `true`, or the
name of the pool. See docs/adoption.md."""
ADOPT_ENGINE_ANNOTATION: Final = "fairlead.dev/adopt-engine"
ADOPT_MODEL_ANNOTATION: Final = "fairlead.dev/adopt-model"
ADOPT_PORT_ANNOTATION: Final = "fairlead.dev/adopt-port"
ADOPT_CONTAINER_ANNOTATION: Final = "fairlead.dev/adopt-container"
"""Beside the label: what is said here is not read from the pod template."""
ADOPTION_ANNOTATION: Final = "fairlead.dev/adoption"
"""On a workload with the label: what has become of it, in JSON."""
ADOPTED_LABEL: Final = "fairlead.dev/adopted"
"""On InferencePools and InferenceModelRewrites that were made for foreign workloads."""
ADOPTED_FROM_ANNOTATION: Final = "fairlead.dev/adopted-from"
"""On such a pool: `Kind/name` of its workloads, with commas between them."""

RESUME_ANNOTATION: Final = "fairlead.dev/resume-rollout"
"""On a ModelService: `REVISION/STEP` (as `status.updateRevision` and `status.rollout.step`): go on from this step."""

CANARY_SUFFIX: Final = "-canary"
"""Of the name of the pool that a new version gets its share through."""


def replica_name(service: str, role: str, revision: str, ordinal: int) -> str:
    """Deterministic, so that creating a replica twice is refused by the API server in place of making two."""
    part = "" if role == "unified" else f"-{role}"
    return f"{service}{part}-{revision[:6]}-{ordinal}"


def member_name(replica: str, index: int) -> str:
    """As LeaderWorkerSet names them: the leader has the replica's own name."""
    return replica if index == 0 else f"{replica}-{index}"


def shadow_name(name: str, version: str) -> str:
    """The name under which one version of a model or adapter is reached on purpose."""
    return f"{name}~{version[:8]}"
