"""From pods and the objects that describe their groups to gangs. Pure, and without exceptions for bad descriptions.

What cannot be read, or is not complete, becomes a gang with `waits_for`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.model import Gang, Group, gang_of_one
from fairlead.scheduling.gangs.sources import (
    coscheduling,
    jobs,
    kai,
    kueue,
    leader_worker_sets,
    own_labels,
    pod_groups,
    volcano,
)
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.queue_names import gang_queue, named_queue
from fairlead.scheduling.gangs.sources.reference import GangContext, GangRef, Member, UnreadableError
from fairlead.scheduling.snapshot import PodView

_READERS: Final[dict[str, Callable[[GangRef, Sequence[Member], GangContext], GangPlan]]] = {
    pod_groups.POD_GROUP: pod_groups.plan,
    pod_groups.COMPOSITE: pod_groups.plan,
    "Annotations": own_labels.plan,
    "ModelService": own_labels.plan,
    leader_worker_sets.LEADER_WORKER_SET: leader_worker_sets.plan,
    jobs.JOB: jobs.plan,
    kai.KIND: kai.plan,
    volcano.KIND: volcano.plan,
    kueue.KIND: kueue.plan,
    coscheduling.KIND: coscheduling.plan,
}

_INDEX_LABELS: Final = (
    "batch.kubernetes.io/job-completion-index",
    leader_worker_sets.WORKER_INDEX,
    "apps.kubernetes.io/pod-index",
    "kueue.x-k8s.io/pod-group-pod-index",
)


def gang_key(pod: Pod, context: GangContext) -> GangRef | None:
    """The gang that a pod belongs to, and its group there; None for a pod that goes by itself.

    Where several descriptions are there, the first of this order counts: PodGroup, our own label, LeaderWorkerSet, Job,
    KAI, Volcano, coscheduling, Kueue. For PodGroups below CompositePodGroups and for Jobs the answer depends on those
    objects; otherwise on the pod alone.
    """
    if pod.spec.scheduling_group is not None and (ref := pod_groups.reference(pod, context)):
        return ref
    if pod.metadata.labels and (
        ref := own_labels.reference(pod, context) or leader_worker_sets.reference(pod, context)
    ):
        return ref
    if pod.metadata.owner_references or pod.metadata.annotations:
        ref = jobs.reference(pod, context)
        if ref is not None:
            return ref
    if pod.metadata.annotations and (ref := kai.reference(pod, context) or volcano.reference(pod, context)):
        return ref
    if pod.metadata.labels or pod.metadata.annotations:
        return coscheduling.reference(pod, context) or kueue.reference(pod, context)
    return None


def single(pod: Pod, view: PodView, context: GangContext) -> Gang:
    """The gang of a pod that goes by itself (`gang_key` is None). One that has ended holds nothing any more."""
    if pod.status.phase in ("Succeeded", "Failed"):
        return Gang(view.namespace, view.name, Group(view.name), priority=view.priority)
    return gang_of_one(view, named_queue(pod) or context.namespace_queue(view.namespace))


def assemble(ref: GangRef, members: Sequence[Member], context: GangContext) -> Gang:
    """The gang of all pods with an equal `gang_key`.

    Pods that are being deleted or have failed are not part of it. Pods that have succeeded count towards the minimum:
    hand them in as well while they exist.
    """
    there = [member for member in members if not member[1].is_leaving and member[0].status.phase != "Failed"]
    there.sort(key=_order)
    try:
        plan = _READERS[ref.kind](ref, there, context)
        queue = gang_queue(ref.namespace, there, plan.queue, context)
        recovery = own_labels.stated_recovery(there) or plan.recovery
    except UnreadableError as problem:
        return _unreadable(ref, there, str(problem), context)
    built = _build(plan, there)
    priorities = [view.priority for _, view in there]
    if plan.priority is not None:
        priorities.append(plan.priority)
    return Gang(
        namespace=ref.namespace,
        name=ref.name,
        root=built.group,
        kind=ref.kind,
        queue=queue,
        priority=max(priorities, default=0),
        created_s=min((view.created_s for _, view in there), default=0.0),
        waits_for=built.problem,
        is_preemptible=plan.is_preemptible,
        disruption=plan.disruption,
        recovery=recovery,
    )


def _unreadable(ref: GangRef, members: Sequence[Member], problem: str, context: GangContext) -> Gang:
    """All pods in one group that waits; those with nodes are still what evictions count with."""
    live = [member for member in members if not _has_finished(member)]
    named = next((name for pod, _ in members if (name := named_queue(pod))), "")
    pods = tuple(view for _, view in live if not view.node)
    bound = tuple(view for _, view in live if view.node)
    return Gang(
        namespace=ref.namespace,
        name=ref.name,
        root=Group(ref.name, pods, minimum=len(live), bound=bound),
        kind=ref.kind,
        queue=named or context.namespace_queue(ref.namespace),
        priority=max((view.priority for _, view in members), default=0),
        created_s=min((view.created_s for _, view in members), default=0.0),
        waits_for=problem,
    )


@dataclass(slots=True)
class _Built:
    """A group with its pods counted."""

    group: Group
    problem: str = ""
    there: int = 0
    """Pods that exist, finished ones included if they count."""
    finished: int = 0
    ready: int = 0
    """Pods that have a node or can get one now."""
    waiting: PodView | None = None
    """The first that cannot yet."""


def _build(plan: GangPlan, members: Sequence[Member]) -> _Built:
    by_group: dict[int, list[Member]] = {}
    for member in members:
        group = plan.where.get(member[1].name, plan.root)
        by_group.setdefault(id(group), []).append(member)
    return _build_group(plan.root, by_group, plan.counts_finished, is_root=True)


def _build_group(
    plan: GroupPlan, by_group: dict[int, list[Member]], counts_finished: bool, is_root: bool = False
) -> _Built:
    own = by_group.get(id(plan), [])
    live = [view for member in own if not _has_finished(member) for view in member[1:]]
    finished = len(own) - len(live) if counts_finished else 0
    bound = tuple(view for view in live if view.node)
    pods = tuple(view for view in live if not view.node and not view.waits_for)
    below = [_build_group(group, by_group, counts_finished) for group in plan.groups]
    kept, problem = _kept_groups(plan, below)
    least = sum(sorted(one.group.minimum + one.finished for one in kept)[: plan.minimum_groups])
    minimum = len(live) + finished + least if plan.minimum is None else max(plan.minimum, least)
    built = _Built(
        Group(plan.name, pods, tuple(one.group for one in kept), 0, plan.minimum_groups, plan.topology, bound),
        there=len(live) + finished + sum(one.there for one in below),
        finished=finished + sum(one.finished for one in kept),
        ready=len(bound) + len(pods) + sum(one.ready for one in kept),
        waiting=next((view for view in live if not view.node and view.waits_for), None)
        or next((one.waiting for one in below if one.waiting), None),
    )
    problem = problem or _shortage(built, minimum, "" if is_root else f" of group {plan.name}")
    if not problem and built.ready + built.finished < minimum:
        # Enough groups are complete, but not enough pods are in them.
        problem = next((one.problem for one in below if one.problem), "")
    built.problem = problem
    built.group = _with_minimum(built.group, max(0, minimum - built.finished))
    return built


def _kept_groups(plan: GroupPlan, below: list[_Built]) -> tuple[list[_Built], str]:
    """The groups that can be placed, with what others already run; and what is wrong if they are too few."""
    incomplete = [one for one in below if one.problem]
    if plan.minimum_groups is None:
        return below, incomplete[0].problem if incomplete else ""
    lacking = plan.minimum_groups - (len(below) - len(incomplete))
    if lacking > 0:
        why = f": {incomplete[0].problem}" if incomplete else ""
        of = f" of {plan.name}" if plan.name else ""
        complete = len(below) - len(incomplete)
        wanted = _count(lacking, "more complete group")
        return below, f"waits for {wanted}{of} ({complete} of {plan.minimum_groups}){why}"
    return [kept for one in below if (kept := _running_part(one) if one.problem else one) is not None], ""


def _running_part(built: _Built) -> _Built | None:
    """What of an incomplete group has nodes: it waits for the rest, and goes on meanwhile."""
    if not built.group.all_bound:
        return None
    group = _only_bound(built.group)
    count = len(group.all_bound)
    return _Built(group, there=count, ready=count)


def _only_bound(group: Group) -> Group:
    groups = tuple(_only_bound(below) for below in group.groups if below.all_bound)
    count = len(group.bound) + sum(len(below.all_bound) for below in groups)
    return Group(group.name, (), groups, count, None, group.topology, group.bound)


def _shortage(built: _Built, minimum: int, of: str) -> str:
    if built.there < minimum:
        lacking = _count(minimum - built.there, "more pod")
        return f"waits for {lacking}{of} ({built.there} of {minimum} are there)"
    if built.ready + built.finished < minimum and built.waiting is not None:
        return f"pod {built.waiting.full_name}{of} waits: {built.waiting.waits_for}"
    return ""


def _with_minimum(group: Group, minimum: int) -> Group:
    return Group(group.name, group.pods, group.groups, minimum, group.minimum_groups, group.topology, group.bound)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _has_finished(member: Member) -> bool:
    return member[0].status.phase == "Succeeded"


def _order(member: Member) -> tuple[int, list[tuple[int, str]], str]:
    """By index, then by name with its numbers as numbers: `a-2` comes before `a-10`."""
    pod = member[0]
    for source in (pod.metadata.labels, pod.metadata.annotations):
        for key in _INDEX_LABELS:
            text = source.get(key, "")
            if text.isascii() and text.isdigit() and len(text) < 10:
                return int(text), _natural(pod.metadata.name), pod.metadata.name
    return 0, _natural(pod.metadata.name), pod.metadata.name


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() and len(part) < 18 else (-1, part) for part in re.split(r"(\d+)", name)]
