"""Gangs by Fairlead's own labels and annotations; replicas of a ModelService are described so, too.

The label `fairlead.dev/gang` names the gang within the namespace, the annotation `fairlead.dev/gang-spec` describes it
(the newest pod that has one is believed), the label `fairlead.dev/group` names a pod's group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.sources.gang_spec import EXAMPLE, GANG_SPEC, GangSpec, group_plan, parse_gang_spec
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.reference import (
    GangContext,
    GangRef,
    Member,
    UnreadableError,
    bad_value,
    pod_name,
)
from fairlead.scheduling.gangs.sources.topology_annotations import with_annotations

GANG: Final = "fairlead.dev/gang"
"""As a label, the gang's name; as an annotation with the value "true" on pods of a Job, the Job is the gang."""
GROUP: Final = "fairlead.dev/group"
RECOVERY: Final = "fairlead.dev/recovery"
MODEL_SERVICE: Final = "fairlead.dev/model-service"


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The gang that the pod's label names."""
    labels = pod.metadata.labels
    name = labels.get(GANG)
    if not name:
        return None
    kind = "ModelService" if MODEL_SERVICE in labels else "Annotations"
    group = labels.get(GROUP, "")
    return GangRef(kind, pod.metadata.namespace, name, (group,) if group else ())


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """Raises UnreadableError."""
    found = newest_spec(members)
    if found is None:
        pod = members[0][0] if members else None
        owner = pod_name(pod) if pod else f"gang {ref.namespace}/{ref.name}"
        raise UnreadableError(
            f"{owner} has the label {GANG}, but no pod of the gang has the annotation {GANG_SPEC}: "
            f"write how many pods must be placed together, for example {EXAMPLE}"
        )
    spec, owner = found
    root = group_plan(spec, context.levels, owner, ref.name)
    root, where = in_groups(root, members, context)
    return GangPlan(root, where, recovery=spec.recovery or "gang", disruption=spec.disruption or "surplus")


def newest_spec(members: Sequence[Member], *, is_sized: bool = False) -> tuple[GangSpec, str] | None:
    """The gang spec of the pod made last, and that pod as messages name it. Raises UnreadableError."""
    holders = [member for member in members if GANG_SPEC in member[0].metadata.annotations]
    if not holders:
        return None
    pod, _ = max(holders, key=lambda member: (member[1].created_s, member[1].name))
    text = pod.metadata.annotations[GANG_SPEC]
    return parse_gang_spec(text, pod_name(pod), is_sized=is_sized), pod_name(pod)


def in_groups(
    root: GroupPlan, members: Sequence[Member], context: GangContext
) -> tuple[GroupPlan, Mapping[str, GroupPlan]]:
    """The plan with the topologies that its pods ask for, and which pod is in which group. Raises UnreadableError."""
    by_group: dict[str, list[Pod]] = {}
    known = {"", *(group.name for group in root.walk() if group is not root)}
    for pod, _ in members:
        group = pod.metadata.labels.get(GROUP, "")
        if group not in known:
            names = ", ".join(sorted(known - {""})) or "none"
            reason = f"the groups of {GANG_SPEC} are: {names}; name one of them there, or leave the label out"
            raise bad_value(f"label {GROUP}", pod_name(pod), group, reason)
        by_group.setdefault(group, []).append(pod)
    by_name: dict[str, GroupPlan] = {}

    def with_topology(group: GroupPlan, name: str) -> GroupPlan:
        topology = with_annotations(group.topology, by_group.get(name, ()), context.levels)
        groups = tuple(with_topology(below, below.name) for below in group.groups)
        by_name[name] = dataclasses.replace(group, topology=topology, groups=groups)
        return by_name[name]

    planned = with_topology(root, "")
    where = {pod.metadata.name: by_name[group] for group, pods in by_group.items() for pod in pods}
    return planned, where


def stated_recovery(members: Sequence[Member]) -> Literal["gang", "member"] | None:
    """What pods say about recovery in `fairlead.dev/recovery`. Raises UnreadableError."""
    for pod, _ in members:
        value = pod.metadata.annotations.get(RECOVERY, "")
        if value == "gang":
            return "gang"
        if value == "member":
            return "member"
        if value:
            raise bad_value(f"annotation {RECOVERY}", pod_name(pod), value, "write gang or member")
    return None
