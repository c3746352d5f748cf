"""The pods of a service as a Deployment or a LeaderWorkerSet keeps them, for clusters that prefer these. Pure.

Protocol: `apps/v1`; `leaderworkerset.x-k8s.io/v1`, whose controller gives the pods of a group their variables, labels
and headless Service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fairlead.api.model_service import ModelService, RoleName
from fairlead.serving.names import MEMBER_LABEL, REVISION_LABEL, ROLE_LABEL, SERVICE_LABEL, TRACK_LABEL
from fairlead.serving.render.container import settling
from fairlead.serving.render.labels import owned
from fairlead.serving.resolved import Resolved, ResolvedRole, Unservable

Json = dict[str, Any]

_RESTARTS: Final = {"Gang": "RecreateGroupOnPodRestart", "Member": "None", "None": "None"}


def foreign_workloads(service: ModelService, resolved: Resolved, desired: Mapping[RoleName, int]) -> list[Json]:
    """One Deployment or LeaderWorkerSet for each role, with so many replicas; empty where Fairlead keeps the pods
    itself. They run the preferred accelerators. Raises Unservable."""
    kind = service.spec.workload
    if kind == "Replicas":
        return []
    make = _deployment if kind == "Deployment" else _leader_worker_set
    return [make(service, resolved, role, desired[name]) for name, role in resolved.roles.items()]


def workload_name(service: str, role: RoleName) -> str:
    return service if role == "unified" else f"{service}-{role}"


def _deployment(service: ModelService, resolved: Resolved, role: ResolvedRole, replicas: int) -> Json:
    if role.size > 1:
        raise Unservable(
            "workload", "Deployment", f"a replica of role {role.name} has {role.size} pods: take LeaderWorkerSet or "
            "Replicas",
        )  # fmt: skip
    rollout = service.spec.rollout
    return owned(
        service, "apps/v1", "Deployment", workload_name(service.name, role.name),
        labels={ROLE_LABEL: role.name},
        spec={
            "replicas": replicas,
            "paused": rollout.paused,
            "progressDeadlineSeconds": rollout.progress_deadline_seconds,
            "revisionHistoryLimit": rollout.revision_history_limit,
            "selector": {"matchLabels": {SERVICE_LABEL: service.name, ROLE_LABEL: role.name}},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable},
            },
            "template": _template(service, role.ways[0].leader, resolved, "0"),
        },
    )  # fmt: skip


def _leader_worker_set(service: ModelService, resolved: Resolved, role: ResolvedRole, replicas: int) -> Json:
    way, rollout = role.ways[0], service.spec.rollout
    if len(way.workers) > 1:
        raise Unservable(
            "workload", "LeaderWorkerSet", "its workers are all alike, and this engine starts each with other "
            "arguments: take Replicas, or as many data-parallel ranks as hosts",
        )  # fmt: skip
    leader = _template(service, way.leader, resolved, "0")
    template: Json = {"size": way.size, "restartPolicy": _RESTARTS[service.spec.recovery.policy]}
    if way.workers:
        template |= {"leaderTemplate": leader, "workerTemplate": _template(service, way.workers[0], resolved, "")}
    else:
        template["workerTemplate"] = leader
    return owned(
        service, "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", workload_name(service.name, role.name),
        labels={ROLE_LABEL: role.name},
        spec={
            "replicas": replicas,
            "startupPolicy": "LeaderCreated",
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {
                    "maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable,
                },
            },
            "leaderWorkerTemplate": template,
        },
    )  # fmt: skip


def _template(service: ModelService, template: Json, resolved: Resolved, member: str) -> Json:
    """With the labels by which pools find pods; workers have no number of their own there."""
    labels = {
        **(template["metadata"].get("labels") or {}),
        REVISION_LABEL: resolved.revision,
        TRACK_LABEL: "stable",
        **({MEMBER_LABEL: member} if member else {}),
    }
    spec = settling(template["spec"], service.spec.drain.settle_seconds)
    return {"metadata": {**template["metadata"], "labels": labels}, "spec": spec}
