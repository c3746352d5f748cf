"""The pods of a LeaderWorkerSet as its controller makes them, as far as placement reads them.

Protocol: labels and annotations under `leaderworkerset.sigs.k8s.io/`; the leader is worker 0 of its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.cli.schedule_documents import Object
from fairlead.embedded.controllers.pods import owner_reference, pod_from_template
from fairlead.scheduling.gangs.sources.leader_worker_sets import (
    EXCLUSIVE,
    GROUP_INDEX,
    NAME,
    SIZE,
    SUBGROUP_EXCLUSIVE,
    SUBGROUP_INDEX,
    SUBGROUP_POLICY,
    SUBGROUP_SIZE,
    WORKER_INDEX,
    subgroup_of,
)

_GROUP_KEY: Final = "leaderworkerset.sigs.k8s.io/group-key"
_MOST: Final = 100_000


def pods_of_leader_worker_set(lws: Object) -> Iterator[Object]:
    """All pods of all groups, group by group, the leader first. Raises ValueError naming the field that is wrong."""
    spec = lws.get("spec") or {}
    template = spec.get("leaderWorkerTemplate") or {}
    workers = template.get("workerTemplate")
    if not isinstance(workers, dict) or not workers.get("spec"):
        raise ValueError("spec.leaderWorkerTemplate.workerTemplate: a pod template is missing; write its spec")
    replicas = _number(spec, "replicas", "spec.replicas", 0)
    size = _number(template, "size", "spec.leaderWorkerTemplate.size", 1)
    if replicas * size > _MOST:
        raise ValueError(f"spec.replicas: {replicas} groups of {size} are more than {_MOST} pods; ask for fewer")
    for group in range(replicas):
        for worker in range(size):
            yield _pod(lws, template, group, worker, size)


def _pod(lws: Object, template: Mapping[str, Any], group: int, worker: int, size: int) -> Object:
    name = lws["metadata"]["name"]
    workers = template["workerTemplate"]
    made_of = (template.get("leaderTemplate") or workers) if worker == 0 else workers
    owner = owner_reference(lws, "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")
    pod = pod_from_template(made_of, lws, owner)
    metadata = pod["metadata"]
    leader = f"{name}-{group}"
    metadata |= {"name": leader if worker == 0 else f"{leader}-{worker}", "generateName": ""}
    metadata["labels"] |= {
        NAME: name,
        GROUP_INDEX: str(group),
        WORKER_INDEX: str(worker),
        _GROUP_KEY: hashlib.sha1(f"{lws['metadata']['namespace']}/{leader}".encode()).hexdigest(),
    }
    metadata["annotations"][SIZE] = str(size)
    for key in (EXCLUSIVE, SUBGROUP_EXCLUSIVE):
        value = (lws["metadata"].get("annotations") or {}).get(key)
        if value:
            metadata["annotations"][key] = value
    _enter_subgroup(metadata, template.get("subGroupPolicy") or {}, worker, size)
    pod["spec"].setdefault("hostname", metadata["name"])
    return pod


def _enter_subgroup(metadata: Object, policy: Mapping[str, Any], worker: int, size: int) -> None:
    subgroup_size = policy.get("subGroupSize")
    if subgroup_size is None:
        return
    where = "spec.leaderWorkerTemplate.subGroupPolicy.subGroupSize"
    subgroup_size = _number(policy, "subGroupSize", where, 1)
    kind = policy.get("subGroupPolicyType") or "LeaderWorker"
    metadata["annotations"] |= {SUBGROUP_SIZE: str(subgroup_size), SUBGROUP_POLICY: kind}
    if worker or kind != "LeaderExcluded":
        metadata["labels"][SUBGROUP_INDEX] = str(subgroup_of(worker, size, subgroup_size))


def _number(holder: Mapping[str, Any], key: str, path: str, least: int) -> int:
    value = holder.get(key, 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{path}: expected a whole number of at least {least}, found {value!r}")
    return value
