"""Jobs (batch/v1)."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.kube.objects.meta import KubernetesObject, LabelSelector, Part
from fairlead.kube.objects.pods import PodTemplateSpec


class PodFailurePolicyOnExitCodesRequirement(Part, frozen=True, gc=False):
    container_name: str = ""
    operator: str = ""
    values: Sequence[int] = ()


class PodFailurePolicyOnPodConditionsPattern(Part, frozen=True, gc=False):
    status: str = ""
    type: str = ""


class PodFailurePolicyRule(Part, frozen=True, gc=False):
    action: str = ""
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: Sequence[PodFailurePolicyOnPodConditionsPattern] = ()


class PodFailurePolicy(Part, frozen=True, gc=False):
    rules: Sequence[PodFailurePolicyRule] = ()


class SuccessPolicyRule(Part, frozen=True, gc=False):
    succeeded_count: int | None = None
    succeeded_indexes: str = ""


class SuccessPolicy(Part, frozen=True, gc=False):
    rules: Sequence[SuccessPolicyRule] = ()


class JobSpec(Part, frozen=True, gc=False):
    active_deadline_seconds: int | None = None
    backoff_limit: int | None = None
    backoff_limit_per_index: int | None = None
    completion_mode: str = ""
    completions: int | None = None
    managed_by: str = ""
    manual_selector: bool | None = None
    max_failed_indexes: int | None = None
    parallelism: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    pod_replacement_policy: str = ""
    selector: LabelSelector | None = None
    success_policy: SuccessPolicy | None = None
    suspend: bool | None = None
    template: PodTemplateSpec | None = None
    ttl_seconds_after_finished: int | None = None


class JobCondition(Part, frozen=True, gc=False):
    last_probe_time: str | None = None
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class UncountedTerminatedPods(Part, frozen=True, gc=False):
    failed: Sequence[str] = ()
    succeeded: Sequence[str] = ()


class JobStatus(Part, frozen=True, gc=False):
    active: int | None = None
    completed_indexes: str = ""
    completion_time: str | None = None
    conditions: Sequence[JobCondition] = ()
    failed: int | None = None
    failed_indexes: str = ""
    ready: int | None = None
    start_time: str | None = None
    succeeded: int | None = None
    terminating: int | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None


class Job(KubernetesObject, frozen=True, gc=False):
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()
