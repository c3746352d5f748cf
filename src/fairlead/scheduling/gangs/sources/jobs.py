"""Gangs by Job: one that asks for it with the annotation `fairlead.dev/gang: "true"`, on itself or its pods.

Ordinary Jobs are pods one by one. All that can run at once go together: `parallelism`, but no more than completions
that are left. The annotation `fairlead.dev/gang-spec` on the pods may set a smaller minimum and a topology.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from fairlead.kube.objects.batch import Job
from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.sources.gang_spec import GANG_SPEC, group_plan
from fairlead.scheduling.gangs.sources.own_labels import GANG, GROUP, in_groups, newest_spec
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.queue_names import QUEUE
from fairlead.scheduling.gangs.sources.reference import (
    GangContext,
    GangRef,
    Member,
    UnreadableError,
    bad_value,
    pod_name,
)

JOB: Final = "Job"


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The Job that owns the pod, if one of the two asks for a gang.

    Where the Job asks, the answer depends on it: ask anew when it comes or its annotation changes. Where Jobs are
    known, the pods of one that is not there yet wait for what it says.
    """
    owner = pod.metadata.controller
    asked = _asks(pod.metadata.annotations.get(GANG))
    if owner is None or owner.kind != JOB or not owner.api_version.startswith("batch/"):
        # A pod that asks in vain is told so: to be placed alone is what it did not want.
        return GangRef(JOB, pod.metadata.namespace, owner.name if owner else pod.metadata.name) if asked else None
    if not asked:
        job = context.job((pod.metadata.namespace, owner.name))
        asked = context.knows_jobs() if job is None else _asks(job.metadata.annotations.get(GANG))
    group = pod.metadata.labels.get(GROUP, "")
    return GangRef(JOB, pod.metadata.namespace, owner.name, (group,) if group else ()) if asked else None


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """Raises UnreadableError."""
    for pod, _ in members:
        owner = pod.metadata.controller
        if owner is None or owner.kind != JOB:
            reason = (
                f"that is for pods of Jobs, and {f'a {owner.kind} owns it' if owner else 'nothing owns it'}: "
                f"write the label {GANG} with the gang's name and the annotation {GANG_SPEC} instead"
            )
            raise bad_value(f"annotation {GANG}", pod_name(pod), "true", reason)
    job = context.job((ref.namespace, ref.name))
    if job is None:
        raise UnreadableError(f"waits for Job {ref.namespace}/{ref.name}, which does not exist")
    together = at_once(job)
    found = newest_spec(members, is_sized=True)
    recovery = found[0].recovery if found else None
    disruption = found[0].disruption if found else None
    root = GroupPlan(ref.name, together)
    if found is not None:
        spec, owner_name = found
        parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
        if spec.min is not None and spec.min > parallelism:
            reason = f"the Job runs {parallelism} pods at once: lower min or raise parallelism"
            raise bad_value(f"min in annotation {GANG_SPEC}", owner_name, spec.min, reason)
        root = group_plan(spec, context.levels, owner_name, ref.name)
        root = dataclasses.replace(root, minimum=together if root.minimum is None else min(root.minimum, together))
    root, where = in_groups(root, members, context)
    return GangPlan(
        root,
        where,
        queue=job.metadata.labels.get(QUEUE, ""),
        # The Job itself replaces a lost pod, and the others stay.
        recovery=recovery or "member",
        disruption=disruption or "surplus",
        counts_finished=False,
    )


def at_once(job: Job) -> int:
    """How many pods of a Job run together from now on."""
    parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
    if job.spec.completions is None:
        return parallelism
    return max(0, min(parallelism, job.spec.completions - (job.status.succeeded or 0)))


def _asks(value: str | None) -> bool:
    return value is not None and value.strip().lower() in ("true", "1", "yes")
