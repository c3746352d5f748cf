"""Gangs by LeaderWorkerSet: each group of a leader and its workers is one, its sub groups are groups within.

Pods carry what is needed in labels and annotations; the LeaderWorkerSet says how a lost pod is recovered from and
whether workers come only after their leader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.model import Topology
from fairlead.scheduling.gangs.sources.foreign import labels_of, mapping, spec_of, text
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.queue_names import QUEUE
from fairlead.scheduling.gangs.sources.reference import (
    LEADER_WORKER_SETS,
    GangContext,
    GangRef,
    Json,
    Member,
    UnreadableError,
    bad_value,
    pod_name,
    whole_number,
)
from fairlead.scheduling.gangs.sources.topology_annotations import with_annotations

LEADER_WORKER_SET: Final = "LeaderWorkerSet"
_PREFIX: Final = "leaderworkerset.sigs.k8s.io/"
NAME: Final = _PREFIX + "name"
GROUP_INDEX: Final = _PREFIX + "group-index"
WORKER_INDEX: Final = _PREFIX + "worker-index"
SUBGROUP_INDEX: Final = _PREFIX + "subgroup-index"
SIZE: Final = _PREFIX + "size"
SUBGROUP_SIZE: Final = _PREFIX + "subgroup-size"
SUBGROUP_POLICY: Final = _PREFIX + "subgroup-policy-type"
EXCLUSIVE: Final = _PREFIX + "exclusive-topology"
SUBGROUP_EXCLUSIVE: Final = _PREFIX + "subgroup-exclusive-topology"

_LEADER_EXCLUDED: Final = "LeaderExcluded"
_RECREATES: Final = ("", "Default", "RecreateGroupOnPodRestart", "RecreateGroupAfterStart")


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The group of the set that the pod's labels name."""
    labels = pod.metadata.labels
    name, index = labels.get(NAME), labels.get(GROUP_INDEX)
    if not name or not index:
        return None
    subgroup = labels.get(SUBGROUP_INDEX, "")
    path = (f"subgroup-{subgroup}",) if subgroup else ()
    return GangRef(LEADER_WORKER_SET, pod.metadata.namespace, f"{name}-{index}", path)


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """Raises UnreadableError."""
    pods = [pod for pod, _ in members]
    name = next((pod.metadata.labels.get(NAME, "") for pod in pods), "")
    lws = context.object(LEADER_WORKER_SETS, ref.namespace, name) or {}
    template = mapping(spec_of(lws), "leaderWorkerTemplate")
    size = _size(ref, pods, template)
    exclusive = _annotation(pods, EXCLUSIVE)
    topology = with_annotations(Topology(required=_label(exclusive)), pods, context.levels)
    alone = _is_leader_first(pods, lws, bool(exclusive))
    where: dict[str, GroupPlan] = {}
    groups = () if alone else _subgroups(pods, size, where)
    recreates = text(template, "restartPolicy") in _RECREATES
    return GangPlan(
        GroupPlan(ref.name, 1 if alone else size, topology=topology, groups=groups),
        where,
        queue=text(labels_of(lws), QUEUE),
        recovery="gang" if recreates else "member",
        disruption="all" if recreates else "surplus",
    )


def subgroup_of(worker: int, size: int, subgroup_size: int) -> int:
    """The sub group of a pod by its index within the group (0 for the leader), as LeaderWorkerSet counts.

    Where the pods but for the leader fill the sub groups evenly, the leader comes on top of the first.
    """
    has_extra_leader = (size - 1) % subgroup_size == 0 and size % subgroup_size != 0
    return max(0, worker - 1) // subgroup_size if has_extra_leader else worker // subgroup_size


def _size(ref: GangRef, pods: Sequence[Pod], template: Json) -> int:
    for pod in pods:
        stated = pod.metadata.annotations.get(SIZE)
        if stated is not None:
            return whole_number(stated, f"annotation {SIZE}", pod_name(pod))
    size: Any = template.get("size")
    if isinstance(size, int) and size > 0:
        return size
    raise UnreadableError(
        f"waits for the size of LeaderWorkerSet group {ref.namespace}/{ref.name}: "
        f"its pods have no annotation {SIZE} and the LeaderWorkerSet does not exist"
    )


def _is_leader_first(pods: Sequence[Pod], lws: Json, is_exclusive: bool) -> bool:
    """Whether the leader must be placed for its workers to be made at all: waiting for them would be for ever."""
    if len(pods) != 1 or pods[0].metadata.labels.get(WORKER_INDEX, "0") != "0" or pods[0].spec.node_name:
        return False
    return is_exclusive or text(spec_of(lws), "startupPolicy") == "LeaderReady"


def _subgroups(pods: Sequence[Pod], size: int, where: dict[str, GroupPlan]) -> tuple[GroupPlan, ...]:
    """The sub groups of a group, whole even where pods are missing; notes in `where` which pod is in which."""
    holder = next((pod for pod in pods if SUBGROUP_SIZE in pod.metadata.annotations), None)
    if holder is None:
        return ()
    subgroup_size = whole_number(
        holder.metadata.annotations[SUBGROUP_SIZE], f"annotation {SUBGROUP_SIZE}", pod_name(holder)
    )
    excluded = _annotation(pods, SUBGROUP_POLICY) == _LEADER_EXCLUDED
    topology = Topology(required=_label(_annotation(pods, SUBGROUP_EXCLUSIVE)))
    counts: dict[int, int] = {}
    for worker in range(1 if excluded else 0, size):
        index = subgroup_of(worker, size, subgroup_size)
        counts[index] = counts.get(index, 0) + 1
    groups = {index: GroupPlan(f"subgroup-{index}", count, topology=topology) for index, count in counts.items()}
    for pod in pods:
        worker = whole_number(pod.metadata.labels.get(WORKER_INDEX, "0"), f"label {WORKER_INDEX}", pod_name(pod), 0)
        if worker == 0 and excluded:
            continue
        label = pod.metadata.labels.get(SUBGROUP_INDEX)
        index = whole_number(label, f"label {SUBGROUP_INDEX}", pod_name(pod), 0) if label else -1
        index = index if label else subgroup_of(worker, size, subgroup_size)
        if index not in groups:
            reason = f"a group of {size} in sub groups of {subgroup_size} has {len(groups)}, counted from 0"
            raise bad_value(f"label {SUBGROUP_INDEX}", pod_name(pod), index, reason)
        where[pod.metadata.name] = groups[index]
    return tuple(groups[index] for index in sorted(groups))


def _annotation(pods: Sequence[Pod], key: str) -> str:
    return next((found for pod in pods if (found := pod.metadata.annotations.get(key))), "")


def _label(key: str) -> tuple[str, ...]:
    return (key,) if key else ()
