"""Gangs as Volcano describes them: its annotation, and PodGroups with minima by task, sub groups and network tiers.

Format: volcano-sh/apis, `scheduling.volcano.sh/v1beta1`. Volcano's tiers are HyperNodes; here tier 1 is the nearest
switch (`fabric.topograph.run/tier-0`), tier 2 the next, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.kube.selectors import from_label_selector
from fairlead.scheduling.gangs.levels import level_label, tier_label
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
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.reference import (
    VOLCANO_POD_GROUPS,
    GangContext,
    GangRef,
    Json,
    Member,
    bad_value,
)

KIND: Final = "Volcano PodGroup"
_ANNOTATIONS: Final = ("scheduling.k8s.io/group-name", "scheduling.volcano.sh/group-name")
TASK: Final = "volcano.sh/task-spec"


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The group that the pod's annotation names."""
    annotations = pod.metadata.annotations
    name = annotations.get(_ANNOTATIONS[0]) or annotations.get(_ANNOTATIONS[1])
    return GangRef(KIND, pod.metadata.namespace, name) if name else None


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """Raises UnreadableError."""
    spec = spec_of(pod_group(VOLCANO_POD_GROUPS, ref, context))
    owner = f"PodGroup {ref.namespace}/{ref.name}"
    pods = [pod for pod, _ in members]
    where: dict[str, GroupPlan] = {}
    groups = [_policy(policy, pods, owner, context, where) for policy in items(spec, "subGroupPolicy")]
    if not groups:
        groups = _tasks(mapping(spec, "minTaskMember"), pods, owner, where)
    minimum = stated_count(spec, "minMember", owner)
    queue = text(spec, "queue")
    topology = _topology(mapping(spec, "networkTopology"), owner, context)
    if minimum is None:
        minimum = 0 if groups else 1
    return GangPlan(
        GroupPlan(ref.name, minimum, topology=topology, groups=tuple(groups)),
        where,
        # What the API fills in where nobody said anything.
        queue="" if queue == "default" else queue,
        priority=class_priority(spec, context),
        recovery="member",
    )


def _tasks(minima: Json, pods: Sequence[Pod], owner: str, where: dict[str, GroupPlan]) -> list[GroupPlan]:
    groups = {task: GroupPlan(task, stated_count(minima, task, f"{owner}, minTaskMember")) for task in sorted(minima)}
    for pod in pods:
        task = pod.metadata.annotations.get(TASK) or pod.metadata.labels.get(TASK, "")
        if task in groups:
            where[pod.metadata.name] = groups[task]
    return list(groups.values())


def _policy(
    policy: Json, pods: Sequence[Pod], owner: str, context: GangContext, where: dict[str, GroupPlan]
) -> GroupPlan:
    """Pods that a policy selects, in sub groups by the values of some labels."""
    name = text(policy, "name") or "subgroups"
    about = f"{owner}, sub group policy {name!r}"
    try:
        selector = from_label_selector(policy.get("labelSelector"))
    except (ValueError, AttributeError, TypeError) as error:
        raise bad_value("labelSelector", about, policy.get("labelSelector"), str(error)) from None
    keys = policy.get("matchLabelKeys")
    keys = [str(key) for key in keys] if isinstance(keys, Sequence) and not isinstance(keys, str) else []
    size = stated_count(policy, "subGroupSize", about)
    topology = _topology(mapping(policy, "networkTopology"), about, context)
    by_values: dict[tuple[str, ...], list[Pod]] = {}
    for pod in pods:
        labels: Mapping[str, str] = pod.metadata.labels
        if selector.matches(labels) and pod.metadata.name not in where:
            by_values.setdefault(tuple(labels.get(key, "") for key in keys), []).append(pod)
    groups = []
    for values, members in sorted(by_values.items()):
        group = GroupPlan("/".join((name, *values)), 1 if size is None else size, topology=topology)
        groups.append(group)
        where.update((pod.metadata.name, group) for pod in members)
    return GroupPlan(name, 0, stated_count(policy, "minSubGroups", about) or 0, groups=tuple(groups))


def _topology(network: Json, owner: str, context: GangContext) -> Topology:
    tier, name = stated_count(network, "highestTierAllowed", owner), text(network, "highestTierName")
    if name:
        try:
            label = level_label(name, context.levels)
        except ValueError as error:
            raise bad_value("networkTopology.highestTierName", owner, name, str(error)) from None
    elif tier is not None:
        label = tier_label(tier)
    else:
        return Topology()
    return Topology(preferred=(label,)) if text(network, "mode") == "soft" else Topology(required=(label,))
