"""Services whose pods a Deployment or a LeaderWorkerSet keeps: what is seen of them, and where their change stands.

Pure. Who makes, replaces and deletes the pods is that workload's own controller; Fairlead writes the workload,
publishes its pods and tells how they stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fairlead.api.model_service import RolloutStatus
from fairlead.kube.objects import Pod
from fairlead.serving.course import Course, Look
from fairlead.serving.names import MEMBER_LABEL
from fairlead.serving.rollout import RoleIntent
from fairlead.serving.rollout.rolling import rolling_step
from fairlead.serving.rollout.trial_facts import Facts, fleet_of


def leaders(pods: Iterable[Pod]) -> list[Pod]:
    """Those that requests reach: single pods, and the leaders of groups."""
    return [pod for pod in pods if pod.metadata.labels.get(MEMBER_LABEL) == "0"]


def follow_foreign(look: Look) -> Course:
    """How it stands; there is nothing to do."""
    status = look.service.status
    # A leader is ready when its group is; its workers are not looked at.
    replicas = tuple(replace(replica, size=1) for replica in look.snapshot.replicas)
    target = look.wanted or look.known.get(status.revision)
    if target is None:
        return Course(
            replicas=replicas, stable=status.revision, wanted=status.update_revision,
            rollout=status.rollout or RolloutStatus(),
        )  # fmt: skip
    facts = Facts(
        wanted=target.revision,
        stable=status.revision,
        roles=tuple(RoleIntent(role, look.counts.get(role, 0)) for role in target.roles),
        fleet=fleet_of(replicas, target.revision),
        status=status.rollout,
        status_revision=status.update_revision,
        progressed=look.progressed,
    )
    decision = rolling_step(look.service.spec.rollout, facts, look.snapshot.now_s)
    return Course(
        replicas=replicas,
        stable=decision.revision,
        wanted=target.revision,
        rollout=decision.status,
        recoveries=tuple(status.recoveries),
        again_s=decision.again_s,
    )
