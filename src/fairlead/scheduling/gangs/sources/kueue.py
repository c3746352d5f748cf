"""Gangs as Kueue's plain pods describe them: a group name, a total count, and topology annotations.

Format: kubernetes-sigs/kueue, `apis/kueue/v1beta2` and `pkg/controller/jobs/pod`. Levels are node labels there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.model import Topology
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.reference import (
    GangContext,
    GangRef,
    Member,
    UnreadableError,
    bad_value,
    pod_name,
    whole_number,
)
from fairlead.scheduling.gangs.sources.topology_annotations import with_annotations

KIND: Final = "Kueue pod group"
_PREFIX: Final = "kueue.x-k8s.io/"
NAME: Final = _PREFIX + "pod-group-name"
"""A label; an annotation where the name is too long for one."""
TOTAL: Final = _PREFIX + "pod-group-total-count"
ROLE: Final = _PREFIX + "role-hash"
REQUIRED: Final = _PREFIX + "podset-required-topology"
PREFERRED: Final = _PREFIX + "podset-preferred-topology"
SLICE_LEVEL: Final = _PREFIX + "podset-slice-required-topology"
SLICE_SIZE: Final = _PREFIX + "podset-slice-size"
SLICES: Final = _PREFIX + "podset-slice-required-topology-constraints"


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The group that the pod names."""
    name = pod.metadata.labels.get(NAME) or pod.metadata.annotations.get(NAME)
    return GangRef(KIND, pod.metadata.namespace, name) if name else None


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """All pods of the group go together; those of each role keep to the topology of their role.

    Raises UnreadableError.
    """
    pods = [pod for pod, _ in members]
    total = _total(ref, pods)
    roles: dict[str, list[Pod]] = {}
    for pod in pods:
        roles.setdefault(pod.metadata.annotations.get(ROLE, ""), []).append(pod)
    topologies = {role: _topology(members_of[0]) for role, members_of in roles.items()}
    if len(set(topologies.values())) <= 1:
        topology = next(iter(topologies.values()), Topology())
        root = GroupPlan(ref.name, total, topology=with_annotations(topology, pods, context.levels))
        return GangPlan(root, recovery="member")
    groups = {role: GroupPlan(role or "other", 0, topology=topology) for role, topology in sorted(topologies.items())}
    where = {pod.metadata.name: groups[role] for role, members_of in roles.items() for pod in members_of}
    own = with_annotations(Topology(), pods, context.levels)
    return GangPlan(GroupPlan(ref.name, total, topology=own, groups=tuple(groups.values())), where, recovery="member")


def _total(ref: GangRef, pods: Sequence[Pod]) -> int:
    totals = {text: pod for pod in pods if (text := pod.metadata.annotations.get(TOTAL)) is not None}
    if not totals:
        raise UnreadableError(
            f"no pod of group {ref.namespace}/{ref.name} has the annotation {TOTAL}: write how many pods the group has"
        )
    if len(totals) > 1:
        (one, first), (other, second) = list(totals.items())[:2]
        raise UnreadableError(
            f"annotation {TOTAL} is {one!r} on {pod_name(first)} and {other!r} on {pod_name(second)}: "
            "write the same number on all pods of the group"
        )
    ((text, pod),) = totals.items()
    return whole_number(text, f"annotation {TOTAL}", pod_name(pod))


def _topology(pod: Pod) -> Topology:
    annotations = pod.metadata.annotations
    required, preferred = annotations.get(REQUIRED, ""), annotations.get(PREFERRED, "")
    if required and preferred:
        reason = f"{PREFERRED} is there too ({preferred}): write one of them"
        raise bad_value(f"annotation {REQUIRED}", pod_name(pod), required, reason)
    level, size = _slices(pod, annotations)
    return Topology(
        required=(required,) if required else (),
        preferred=(preferred,) if preferred else (),
        slice_size=size,
        slice_level=level,
    )


def _slices(pod: Pod, annotations: Mapping[str, str]) -> tuple[str, int]:
    if SLICES in annotations:
        return _layered_slices(pod, annotations[SLICES])
    level, size = annotations.get(SLICE_LEVEL, ""), annotations.get(SLICE_SIZE, "")
    if level and size:
        return level, whole_number(size, f"annotation {SLICE_SIZE}", pod_name(pod))
    if level or size:
        there, absent = (SLICE_LEVEL, SLICE_SIZE) if level else (SLICE_SIZE, SLICE_LEVEL)
        raise bad_value(f"annotation {there}", pod_name(pod), level or size, f"write {absent} too")
    return "", 0


def _layered_slices(pod: Pod, text: str) -> tuple[str, int]:
    example = '[{"topology": "example.com/rack", "size": 4}]'
    try:
        layers = json.loads(text)
        ((level, size),) = [(str(layer["topology"]), int(layer["size"])) for layer in layers]
    except (ValueError, TypeError, KeyError, RecursionError):
        reason = f"one layer of slices can be kept to; write it so: {example}"
        raise bad_value(f"annotation {SLICES}", pod_name(pod), text, reason) from None
    return level, max(1, size)
