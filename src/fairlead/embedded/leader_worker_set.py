"""Labels, annotations and names of LeaderWorkerSets, for the API server's admission and for the controllers.

Protocol: `api/leaderworkerset/v1` of kubernetes-sigs/lws. A group is a leader pod, named after its StatefulSet with the
group's index, and its workers, named after the leader with theirs: `SET-0`, `SET-0-1`, `SET-0-2`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

GROUP: Final = "leaderworkerset.x-k8s.io"
DEFINITION: Final = f"leaderworkersets.{GROUP}"
"""Name of the CustomResourceDefinition."""

_PREFIX: Final = "leaderworkerset.sigs.k8s.io/"
NAME: Final = f"{_PREFIX}name"
GROUP_INDEX: Final = f"{_PREFIX}group-index"
WORKER_INDEX: Final = f"{_PREFIX}worker-index"
GROUP_KEY: Final = f"{_PREFIX}group-key"
REVISION: Final = f"{_PREFIX}template-revision-hash"
SUBGROUP_INDEX: Final = f"{_PREFIX}subgroup-index"
SUBGROUP_KEY: Final = f"{_PREFIX}subgroup-key"
"""Labels of pods; NAME, GROUP_INDEX, GROUP_KEY and REVISION are those of StatefulSets too."""

SIZE: Final = f"{_PREFIX}size"
REPLICAS: Final = f"{_PREFIX}replicas"
LEADER_NAME: Final = f"{_PREFIX}leader-name"
EXCLUSIVE: Final = f"{_PREFIX}exclusive-topology"
SUBGROUP_EXCLUSIVE: Final = f"{_PREFIX}subgroup-exclusive-topology"
SUBGROUP_SIZE: Final = f"{_PREFIX}subgroup-size"
SUBGROUP_POLICY: Final = f"{_PREFIX}subgroup-policy-type"
SUBDOMAIN_POLICY: Final = f"{_PREFIX}subdomainPolicy"
LEADER_REQUESTS_TPUS: Final = f"{_PREFIX}leader-requests-tpus"
RECREATE_AFTER_START: Final = f"{_PREFIX}experimental-recreate-group-after-start"
"""Annotations of pods, but for REPLICAS, which the leaders' StatefulSet has."""

TPU_RESOURCE: Final = "google.com/tpu"


def split_ordinal(name: str) -> tuple[str, int] | None:
    """What a pod of a StatefulSet is named after, and its number; None for a name of another form."""
    parent, dash, number = name.rpartition("-")
    return (parent, int(number)) if dash and number.isascii() and number.isdigit() else None


def is_leader(pod: Mapping[str, Any]) -> bool:
    return (pod["metadata"].get("labels") or {}).get(WORKER_INDEX) == "0"


def revision_key(obj: Mapping[str, Any]) -> str:
    """The revision that a pod, StatefulSet or ControllerRevision is of; empty where it says none."""
    return str((obj["metadata"].get("labels") or {}).get(REVISION, ""))


def unique_key(*parts: str) -> str:
    """A label value that no other group, or sub group, has."""
    return hashlib.sha1("/".join(parts).encode(), usedforsecurity=False).hexdigest()


def tpus(container: Mapping[str, Any]) -> bool:
    """Whether a container asks for TPUs."""
    resources = container.get("resources") or {}
    amounts = ((resources.get(side) or {}).get(TPU_RESOURCE) for side in ("limits", "requests"))
    return any(str(amount) not in ("", "0") for amount in amounts if amount is not None)


def requests_tpus(pod_spec: Mapping[str, Any]) -> bool:
    return any(tpus(c) for side in ("containers", "initContainers") for c in pod_spec.get(side) or ())
