"""Gangs as KAI Scheduler describes them: its pod grouper's annotation, and PodGroups with nested sub groups.

Formats: kai-scheduler/KAI-Scheduler, `scheduling.run.ai/v2alpha2` (PodGroup), `kai.scheduler/v1alpha1` (Topology).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.levels import level_label
from fairlead.scheduling.gangs.model import Topology
from fairlead.scheduling.gangs.sources.foreign import (
    class_priority,
    items,
    mapping,
    pod_group,
    spec_of,
    stated_count,
    text,
)
from fairlead.scheduling.gangs.sources.gang_spec import MAX_DEPTH
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.reference import (
    KAI_POD_GROUPS,
    KAI_TOPOLOGIES,
    GangContext,
    GangRef,
    Json,
    Member,
    UnreadableError,
    bad_value,
    pod_name,
)

KIND: Final = "KAI PodGroup"
POD_GROUP: Final = "pod-group-name"
SUBGROUP: Final = "kai.scheduler/subgroup-name"
TOPOLOGY: Final = "kai.scheduler/topology"
REQUIRED: Final = "kai.scheduler/topology-required-placement"
PREFERRED: Final = "kai.scheduler/topology-preferred-placement"


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The group that the pod's annotation names."""
    name = pod.metadata.annotations.get(POD_GROUP)
    if not name:
        return None
    subgroup = pod.metadata.labels.get(SUBGROUP, "")
    return GangRef(KIND, pod.metadata.namespace, name, (subgroup,) if subgroup else ())


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """Raises UnreadableError."""
    group = pod_group(KAI_POD_GROUPS, ref, context)
    spec = spec_of(group)
    owner = f"PodGroup {ref.namespace}/{ref.name}"
    planned: dict[str, GroupPlan] = {}
    groups = _subgroups(items(spec, "subGroups"), owner, context, planned)
    topology = _constraint(mapping(spec, "topologyConstraint"), owner, context)
    if topology == Topology():
        topology = _from_annotations([pod for pod, _ in members], context)
    where: dict[str, GroupPlan] = {}
    for pod, _ in members:
        name = pod.metadata.labels.get(SUBGROUP)
        if name and name not in planned:
            reason = f"{owner} has these sub groups: {', '.join(sorted(planned)) or 'none'}"
            raise bad_value(f"label {SUBGROUP}", pod_name(pod), name, reason)
        if name:
            where[pod.metadata.name] = planned[name]
    return GangPlan(
        _group(ref.name, spec, topology, groups, owner),
        where,
        queue=text(spec, "queue"),
        priority=class_priority(spec, context),
        recovery="member",
        is_preemptible=text(spec, "preemptibility") != "non-preemptible",
    )


def _group(name: str, spec: Json, topology: Topology, groups: tuple[GroupPlan, ...], owner: str) -> GroupPlan:
    minimum, minimum_groups = stated_count(spec, "minMember", owner), stated_count(spec, "minSubGroup", owner)
    if minimum_groups is not None and minimum_groups > len(groups):
        reason = f"there are {len(groups)} sub groups in it: lower minSubGroup or describe the others"
        raise bad_value("minSubGroup", f"{owner}, group {name!r}", minimum_groups, reason)
    if minimum is None:
        minimum = 0 if groups else 1
    return GroupPlan(name, minimum, minimum_groups, topology, groups)


def _subgroups(
    subgroups: Sequence[Json], owner: str, context: GangContext, planned: dict[str, GroupPlan]
) -> tuple[GroupPlan, ...]:
    """The tree of sub groups, which name their parents; every one ends in `planned` by its name."""
    by_name = {text(one, "name"): one for one in subgroups}
    if len(by_name) < len(subgroups):
        raise UnreadableError(f"{owner} has two sub groups of one name: give each a name of its own")
    if "" in by_name:
        raise UnreadableError(f"{owner} has a sub group without a name: give it one that its pods have in {SUBGROUP}")
    for name, one in by_name.items():
        parent = text(one, "parent")
        if parent and parent not in by_name:
            raise bad_value("parent", f"{owner}, sub group {name!r}", parent, "there is no such sub group")

    def below(parent: str, depth: int) -> tuple[GroupPlan, ...]:
        return tuple(compose(name, one, depth) for name, one in by_name.items() if text(one, "parent") == parent)

    def compose(name: str, one: Json, depth: int) -> GroupPlan:
        if depth > MAX_DEPTH:
            raise UnreadableError(f"{owner} has sub groups nested more than {MAX_DEPTH} deep: nest them less")
        topology = _constraint(mapping(one, "topologyConstraint"), f"{owner}, sub group {name!r}", context)
        planned[name] = _group(name, one, topology, below(name, depth + 1), owner)
        return planned[name]

    roots = below("", 1)
    if len(planned) < len(by_name):
        circle = ", ".join(sorted(by_name.keys() - planned.keys()))
        raise UnreadableError(f"{owner} has sub groups whose parents go in a circle ({circle}): let one have no parent")
    return roots


def _from_annotations(pods: Sequence[Pod], context: GangContext) -> Topology:
    for pod in pods:
        annotations = pod.metadata.annotations
        if REQUIRED in annotations or PREFERRED in annotations:
            constraint = {
                "topology": annotations.get(TOPOLOGY, ""),
                "requiredTopologyLevel": annotations.get(REQUIRED, ""),
                "preferredTopologyLevel": annotations.get(PREFERRED, ""),
            }
            return _constraint(constraint, pod_name(pod), context)
    return Topology()


def _constraint(constraint: Json, owner: str, context: GangContext) -> Topology:
    """KAI's constraint: everything in one domain of the required level, and if it can be of the preferred one."""
    levels = {}
    for field in ("requiredTopologyLevel", "preferredTopologyLevel"):
        name = text(constraint, field)
        levels[field] = (_level(name, text(constraint, "topology"), field, owner, context),) if name else ()
    return Topology(required=levels["requiredTopologyLevel"], preferred=levels["preferredTopologyLevel"])


def _level(name: str, topology: str, field: str, owner: str, context: GangContext) -> str:
    """A level by the alias or label that the Topology object gives it, else as ours."""
    found = context.object(KAI_TOPOLOGIES, "", topology) if topology else None
    for level in items(spec_of(found or {}), "levels"):
        if name in (text(level, "nodeLabel"), text(level, "alias")):
            return text(level, "nodeLabel")
    try:
        return level_label(name, context.levels)
    except ValueError as error:
        raise bad_value(field, owner, name, str(error)) from None
