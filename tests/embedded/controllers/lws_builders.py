"""LeaderWorkerSets, as tests write them."""

from __future__ import annotations

from typing import Any

from fairlead.api import all_crds
from fairlead.kube.resources import Resource

LEADER_WORKER_SETS = Resource.of("leaderworkerset.x-k8s.io/v1", "leaderworkersets", "LeaderWorkerSet")
PREFIX = "leaderworkerset.sigs.k8s.io/"
Object = dict[str, Any]


def definition() -> Object:
    """The CustomResourceDefinition that Fairlead installs."""
    return next(c for c in all_crds() if c["spec"]["names"]["kind"] == "LeaderWorkerSet")


def container(**fields: Any) -> Object:
    return {"name": "engine", "image": "pause", **fields}


def template(**fields: Any) -> Object:
    return {"spec": {"terminationGracePeriodSeconds": 0, "containers": [container(**fields)]}}


def spec(replicas: int = 2, size: int = 3, **fields: Any) -> Object:
    """The specification of a set; `fields` of its `leaderWorkerTemplate` are told from its own by name."""
    inner = {"size": size, "workerTemplate": template()}
    outer: Object = {"replicas": replicas}
    for name, value in fields.items():
        (outer if name in ("startupPolicy", "networkConfig", "rolloutStrategy") else inner)[name] = value
    return {**outer, "leaderWorkerTemplate": inner}


def rolling(max_unavailable: int | str = 1, max_surge: int | str = 0, partition: int = 0) -> Object:
    config = {"maxUnavailable": max_unavailable, "maxSurge": max_surge, "partition": partition}
    return {"type": "RollingUpdate", "rollingUpdateConfiguration": config}
