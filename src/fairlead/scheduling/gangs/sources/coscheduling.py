"""Gangs by the coscheduling plugin of Kubernetes' scheduler-plugins: a label, and a PodGroup with `minMember`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.model import Topology
from fairlead.scheduling.gangs.sources.foreign import labels_of, pod_group, spec_of, stated_count, text
from fairlead.scheduling.gangs.sources.plan import GangPlan, GroupPlan
from fairlead.scheduling.gangs.sources.queue_names import QUEUE
from fairlead.scheduling.gangs.sources.reference import COSCHEDULING_POD_GROUPS, GangContext, GangRef, Member
from fairlead.scheduling.gangs.sources.topology_annotations import with_annotations

KIND: Final = "Coscheduling PodGroup"
LABEL: Final = "scheduling.x-k8s.io/pod-group"


def reference(pod: Pod, context: GangContext) -> GangRef | None:
    """The group that the pod's label names."""
    name = pod.metadata.labels.get(LABEL)
    return GangRef(KIND, pod.metadata.namespace, name) if name else None


def plan(ref: GangRef, members: Sequence[Member], context: GangContext) -> GangPlan:
    """Raises UnreadableError."""
    group = pod_group(COSCHEDULING_POD_GROUPS, ref, context)
    minimum = stated_count(spec_of(group), "minMember", f"PodGroup {ref.namespace}/{ref.name}")
    topology = with_annotations(Topology(), (pod for pod, _ in members), context.levels)
    root = GroupPlan(ref.name, 1 if minimum is None else minimum, topology=topology)
    return GangPlan(root, queue=text(labels_of(group), QUEUE), recovery="member")
