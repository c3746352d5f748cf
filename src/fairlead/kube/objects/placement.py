"""Where a pod may run: node and pod affinity, tolerations, topology spread (core/v1)."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.kube.objects.meta import LabelSelector, Part


class NodeSelectorRequirement(Part, frozen=True, gc=False):
    key: str = ""
    operator: str = ""
    values: Sequence[str] = ()


class NodeSelectorTerm(Part, frozen=True, gc=False):
    match_expressions: Sequence[NodeSelectorRequirement] = ()
    match_fields: Sequence[NodeSelectorRequirement] = ()


class NodeSelector(Part, frozen=True, gc=False):
    node_selector_terms: Sequence[NodeSelectorTerm] = ()


class PreferredSchedulingTerm(Part, frozen=True, gc=False):
    preference: NodeSelectorTerm | None = None
    weight: int = 0


class NodeAffinity(Part, frozen=True, gc=False):
    preferred_during_scheduling_ignored_during_execution: Sequence[PreferredSchedulingTerm] = ()
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Part, frozen=True, gc=False):
    label_selector: LabelSelector | None = None
    match_label_keys: Sequence[str] = ()
    mismatch_label_keys: Sequence[str] = ()
    namespace_selector: LabelSelector | None = None
    namespaces: Sequence[str] = ()
    topology_key: str = ""


class WeightedPodAffinityTerm(Part, frozen=True, gc=False):
    pod_affinity_term: PodAffinityTerm | None = None
    weight: int = 0


class PodAffinity(Part, frozen=True, gc=False):
    preferred_during_scheduling_ignored_during_execution: Sequence[WeightedPodAffinityTerm] = ()
    required_during_scheduling_ignored_during_execution: Sequence[PodAffinityTerm] = ()


class PodAntiAffinity(Part, frozen=True, gc=False):
    preferred_during_scheduling_ignored_during_execution: Sequence[WeightedPodAffinityTerm] = ()
    required_during_scheduling_ignored_during_execution: Sequence[PodAffinityTerm] = ()


class Affinity(Part, frozen=True, gc=False):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class Toleration(Part, frozen=True, gc=False):
    effect: str = ""
    key: str = ""
    operator: str = ""
    toleration_seconds: int | None = None
    value: str = ""


class TopologySpreadConstraint(Part, frozen=True, gc=False):
    label_selector: LabelSelector | None = None
    match_label_keys: Sequence[str] = ()
    max_skew: int = 0
    min_domains: int | None = None
    node_affinity_policy: str = ""
    node_taints_policy: str = ""
    topology_key: str = ""
    when_unsatisfiable: str = ""
