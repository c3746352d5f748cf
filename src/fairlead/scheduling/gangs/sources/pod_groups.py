"""Gangs by Kubernetes' own PodGroup and CompositePodGroup (scheduling.k8s.io, all versions).

A PodGroup under CompositePodGroups is part of the gang of the outermost one. A composite whose groups are scheduled
independently (`basic`) and that wants nothing else of them is no gang: each of its groups is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.kube.objects.scheduling import CompositePodGroup, PodGroup, PodGroupSchedulingConstraints
from fairlead.scheduling.gangs.model import Topology
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.queue_names import QUEUE
from fairlead.scheduling.gangs.sources.reference import GangContext, GangRef, Member, UnreadableError

POD_GROUP: Final = "PodGroup"
COMPOSITE: Final = "CompositePodGroup"
MAX_DEPTH: Final = 4
"""As Kubernetes limits the tree."""


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The gang of `spec.schedulingGroup`. Of a PodGroup that is not there yet, the group alone.

    The answer depends on the PodGroup and the CompositePodGroups above it: ask anew when one of them comes or goes.
    """
    wanted = pod.spec.scheduling_group
    if wanted is None or not wanted.pod_group_name:
        return None
    namespace, name = pod.metadata.namespace, wanted.pod_group_name
    group = context.pod_group((namespace, name))
    if group is None:
        return GangRef(POD_GROUP, namespace, name)
    if not group.spec.parent_composite_pod_group_name:
        return None if _is_loose(group) else GangRef(POD_GROUP, namespace, name)
    above = _ancestors(group, context)
    while above and _is_independent(above[-1][1]):
        above.pop()
    if not above:
        return GangRef(POD_GROUP, namespace, name)
    path = [found for found, _ in reversed(above[:-1])]
    return GangRef(COMPOSITE, namespace, above[-1][0], (*path, name))


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """Raises UnreadableError."""
    if ref.kind == COMPOSITE:
        return _composite_plan(ref, members, context)
    group = _pod_group(ref.namespace, ref.name, context)
    return GangPlan(
        _group_plan(group),
        queue=group.metadata.labels.get(QUEUE, ""),
        priority=_priority(group, context),
        recovery="gang" if group.spec.is_disrupted_whole else "member",
        disruption="all" if group.spec.is_disrupted_whole else "surplus",
    )


def group_claims(group: PodGroup) -> Mapping[str, str]:
    """Claims that the pods of a group share: name in `spec.resourceClaims` -> ResourceClaim, "" while it is not made.

    A pod uses one by an entry of its own that has the same name and the same claim or template.
    """
    made = {status.name: status.resource_claim_name for status in group.status.resource_claim_statuses}
    return {claim.name: claim.resource_claim_name or made.get(claim.name, "") for claim in group.spec.resource_claims}


def _pod_group(namespace: str, name: str, context: GangContext) -> PodGroup:
    group = context.pod_group((namespace, name))
    if group is None:
        raise UnreadableError(f"waits for PodGroup {namespace}/{name}, which its pods name and which does not exist")
    missing = [claim for claim, made in group_claims(group).items() if not made]
    if missing:
        templates = {claim.name: claim.resource_claim_template_name for claim in group.spec.resource_claims}
        raise UnreadableError(
            f"waits for the ResourceClaim that PodGroup {namespace}/{name} shares as {missing[0]!r}, "
            f"to be made from template {templates[missing[0]]!r}"
        )
    return group


def _group_plan(group: PodGroup) -> GroupPlan:
    policy = group.spec.scheduling_policy.gang
    # Without a gang, one pod is enough: others join it, where its topology puts them.
    minimum = 1 if policy is None else policy.min_count
    return GroupPlan(group.metadata.name, minimum, topology=_topology(group.spec.scheduling_constraints))


def _composite_plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    leaves: dict[str, GroupPlan] = {}
    where: dict[str, GroupPlan] = {}
    tree = _Tree()
    for pod, _ in members:
        name = pod.spec.scheduling_group.pod_group_name if pod.spec.scheduling_group else ""
        if name not in leaves:
            group = _pod_group(ref.namespace, name, context)
            leaves[name] = _group_plan(group)
            tree.enter(group, ref, context)
        where[pod.metadata.name] = leaves[name]
    root = context.composite_pod_group((ref.namespace, ref.name))
    if root is None:
        raise UnreadableError(f"waits for CompositePodGroup {ref.namespace}/{ref.name}, which does not exist")

    def compose(composite: CompositePodGroup) -> GroupPlan:
        name = composite.metadata.name
        groups = [leaves[below] for below in sorted(tree.groups.get(name, ()))]
        groups += [compose(tree.composites[below]) for below in sorted(tree.inner.get(name, ()))]
        policy = composite.spec.scheduling_policy.gang
        enough = 1 if policy is None else policy.min_group_count
        topology = _topology(composite.spec.scheduling_constraints)
        return GroupPlan(name, 0, minimum_groups=enough, topology=topology, groups=tuple(groups))

    mode = root.spec.disruption_mode
    whole = mode is not None and mode.all is not None
    return GangPlan(
        compose(root),
        where,
        queue=root.metadata.labels.get(QUEUE, ""),
        priority=_priority(root, context),
        recovery="gang" if whole else "member",
        disruption="all" if whole else "surplus",
    )


class _Tree:
    """What lies below what in the gang of a composite, as far as there are pods."""

    def __init__(self) -> None:
        self.groups: dict[str, set[str]] = {}
        self.inner: dict[str, set[str]] = {}
        self.composites: dict[str, CompositePodGroup] = {}

    def enter(self, group: PodGroup, ref: GangRef, context: GangContext) -> None:
        """Notes a group below its parent, that below its own, up to the root of the gang. Raises UnreadableError."""
        chain = _ancestors(group, context)
        below, sets = group.metadata.name, self.groups
        for parent, composite in chain:
            if composite is None:
                raise UnreadableError(
                    f"waits for CompositePodGroup {ref.namespace}/{parent}, "
                    f"which {below} names as its parent and which does not exist"
                )
            sets.setdefault(parent, set()).add(below)
            self.composites[parent] = composite
            below, sets = parent, self.inner
        last = chain[-1][1] if chain else None
        if last is not None and last.spec.parent_composite_pod_group_name:
            parents = ", ".join(name for name, _ in chain)
            raise UnreadableError(
                f"the parents of PodGroup {ref.namespace}/{group.metadata.name} ({parents}) "
                f"go in a circle or more than {MAX_DEPTH - 1} levels up: "
                "set spec.parentCompositePodGroupName so that they end in one root"
            )


def _ancestors(group: PodGroup, context: GangContext) -> list[tuple[str, CompositePodGroup | None]]:
    """Composites above a group, the nearest first; one that does not exist ends it, a circle or too many too."""
    found: list[tuple[str, CompositePodGroup | None]] = []
    name = group.spec.parent_composite_pod_group_name
    while name and len(found) < MAX_DEPTH - 1 and name not in (seen for seen, _ in found):
        composite = context.composite_pod_group((group.metadata.namespace, name))
        found.append((name, composite))
        name = composite.spec.parent_composite_pod_group_name if composite else ""
    return found


def _is_loose(group: PodGroup) -> bool:
    """Whether its pods have nothing to do with each other as far as placement goes."""
    if group.spec.scheduling_policy.gang is not None or group.spec.resource_claims:
        return False
    constraints = group.spec.scheduling_constraints
    return constraints is None or not constraints.topology


def _is_independent(composite: CompositePodGroup | None) -> bool:
    if composite is None:
        return False
    constraints = composite.spec.scheduling_constraints
    return composite.spec.scheduling_policy.gang is None and not (constraints and constraints.topology)


def _topology(constraints: PodGroupSchedulingConstraints | None) -> Topology:
    return Topology(required=tuple(one.key for one in constraints.topology)) if constraints else Topology()


def _priority(group: PodGroup | CompositePodGroup, context: GangContext) -> int | None:
    if group.spec.priority is not None:
        return group.spec.priority
    return context.priority(group.spec.priority_class_name) if group.spec.priority_class_name else None
