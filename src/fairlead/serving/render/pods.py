"""One pod of a replica, from its template. Pure.

Members of replicas with several pods have what LeaderWorkerSet gives its pods, so that programs written for it run:
labels, the size annotation, and in every container LWS_LEADER_ADDRESS, LWS_GROUP_SIZE and LWS_WORKER_INDEX. The
leader's address is its host name in the service's headless Service.
Protocol: `api/leaderworkerset/v1` and `pkg/utils/pod` of kubernetes-sigs/lws 0.10. Its set is here all replicas of one
role and revision, so that NAME-INDEX is the leader's pod there as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fairlead.api.model_service import ModelService, RoleName
from fairlead.serving.names import (
    GANG_LABEL,
    GANG_SPEC_ANNOTATION,
    MEMBER_LABEL,
    REPLICA_LABEL,
    REVISION_LABEL,
    TRACK_LABEL,
    member_name,
)
from fairlead.serving.observed import Track
from fairlead.serving.render.container import settling
from fairlead.serving.render.labels import owner_reference
from fairlead.serving.render.nearness import gang_spec
from fairlead.serving.render.network import headless_name
from fairlead.serving.resolved import Alternative, Resolved

Json = dict[str, Any]

_LWS: Final = "leaderworkerset.sigs.k8s.io/"
LWS_NAME: Final = f"{_LWS}name"
LWS_GROUP_INDEX: Final = f"{_LWS}group-index"
LWS_WORKER_INDEX: Final = f"{_LWS}worker-index"
LWS_GROUP_KEY: Final = f"{_LWS}group-key"
LWS_REVISION: Final = f"{_LWS}template-revision-hash"
LWS_SIZE: Final = f"{_LWS}size"
"""Annotation of every pod, also of single ones: how many members its replica is to have."""
LWS_LEADER_NAME: Final = f"{_LWS}leader-name"


def member_pod(
    service: ModelService,
    resolved: Resolved,
    role: RoleName,
    replica_name: str,
    ordinal: int,
    index: int,
    alternative: str,
    track: Track,
) -> Json:
    """Pod number `index` of a replica, the leader's is 0. `alternative` is a name of `ResolvedRole.alternatives`, empty
    for the preferred one."""
    way = resolved.roles[role].way(alternative)
    template = way.template(index)
    name = member_name(replica_name, index)
    labels = {
        **(template["metadata"].get("labels") or {}),
        REVISION_LABEL: resolved.revision,
        REPLICA_LABEL: replica_name,
        MEMBER_LABEL: str(index),
        TRACK_LABEL: track,
    }
    annotations = {**(template["metadata"].get("annotations") or {}), LWS_SIZE: str(way.size)}
    spec = settling(template["spec"], service.spec.drain.settle_seconds)
    if way.size > 1:
        labels |= _gang_labels(service, resolved, replica_name, ordinal, index)
        annotations |= {GANG_SPEC_ANNOTATION: gang_spec(service, way.size, way.topology)}
        if index:
            annotations[LWS_LEADER_NAME] = replica_name
        spec = _gang_spec(service, way, spec, replica_name, index)
    metadata = {
        **template["metadata"],
        "name": name,
        "namespace": service.namespace,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [owner_reference(service)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def replica_pods(
    service: ModelService,
    resolved: Resolved,
    role: RoleName,
    replica_name: str,
    ordinal: int,
    alternative: str,
    track: Track,
) -> list[Json]:
    """All pods of a replica, the leader first."""
    size = resolved.roles[role].way(alternative).size
    return [
        member_pod(service, resolved, role, replica_name, ordinal, index, alternative, track) for index in range(size)
    ]


def _gang_labels(
    service: ModelService, resolved: Resolved, replica_name: str, ordinal: int, index: int
) -> dict[str, str]:
    key = hashlib.sha1(f"{service.namespace}/{replica_name}".encode(), usedforsecurity=False).hexdigest()
    return {
        GANG_LABEL: replica_name,
        LWS_NAME: replica_name.rpartition("-")[0],
        LWS_GROUP_INDEX: str(ordinal),
        LWS_WORKER_INDEX: str(index),
        LWS_GROUP_KEY: key,
        LWS_REVISION: resolved.revision,
    }


def _gang_spec(service: ModelService, way: Alternative, spec: Json, replica_name: str, index: int) -> Json:
    """The pod's spec with a host name of its own, and the group's variables first in every container: others may refer
    to them."""
    domain = headless_name(service.name)
    group = [
        {"name": "LWS_LEADER_ADDRESS", "value": f"{replica_name}.{domain}.{service.namespace}"},
        {"name": "LWS_GROUP_SIZE", "value": str(way.size)},
        {"name": "LWS_WORKER_INDEX", "value": str(index)},
    ]
    changed: Json = {
        side: [{**container, "env": _first(group, container.get("env", ()))} for container in spec[side]]
        for side in ("initContainers", "containers")
        if side in spec
    }
    return {**spec, **changed, "hostname": member_name(replica_name, index), "subdomain": domain}


def _first(group: Sequence[Json], own: Iterable[Json]) -> list[Json]:
    """The group's variables before a container's own, in place of those of the same name: the last of a name counts."""
    names = {variable["name"] for variable in group}
    return [*group, *(variable for variable in own if variable["name"] not in names)]
