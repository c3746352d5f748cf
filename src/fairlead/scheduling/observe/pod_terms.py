"""Pod affinity, anti-affinity and spread constraints of a pod, with namespaces and `matchLabelKeys` resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fairlead.kube.objects import Pod
from fairlead.kube.objects.meta import LabelSelector
from fairlead.kube.objects.placement import PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm
from fairlead.kube.selectors import EVERYTHING, NOTHING, Requirement, Selector
from fairlead.scheduling.snapshot import PodTerm, SpreadConstraint

Namespaces = Mapping[str, Mapping[str, str]]
"""Namespace -> its labels."""

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def near_terms(pod: Pod, namespaces: Namespaces) -> tuple[PodTerm, ...]:
    """Pod affinity: the required terms, then the preferred ones."""
    affinity = pod.spec.affinity.pod_affinity if pod.spec.affinity else None
    if affinity is None:
        return ()
    return _terms(
        pod,
        affinity.required_during_scheduling_ignored_during_execution,
        affinity.preferred_during_scheduling_ignored_during_execution,
        namespaces,
    )


def far_terms(pod: Pod, namespaces: Namespaces) -> tuple[PodTerm, ...]:
    """Pod anti-affinity: the required terms, then the preferred ones."""
    affinity = pod.spec.affinity.pod_anti_affinity if pod.spec.affinity else None
    if affinity is None:
        return ()
    return _terms(
        pod,
        affinity.required_during_scheduling_ignored_during_execution,
        affinity.preferred_during_scheduling_ignored_during_execution,
        namespaces,
    )


def spread_constraints(pod: Pod) -> tuple[SpreadConstraint, ...]:
    return tuple(
        SpreadConstraint(
            level=each.topology_key,
            max_skew=each.max_skew,
            is_required=each.when_unsatisfiable != "ScheduleAnyway",
            selector=_selector(each.label_selector, _picked(pod, each.match_label_keys, "in")),
            min_domains=each.min_domains or 1,
            honours_affinity=each.node_affinity_policy != "Ignore",
            honours_taints=each.node_taints_policy == "Honor",
        )
        for each in pod.spec.topology_spread_constraints
    )


def mentioned_keys(pod: Pod) -> set[str]:
    """The label keys that the pod's constraints about other pods, and about itself, ask for."""
    keys: set[str] = set()
    affinity = pod.spec.affinity
    for kind in (affinity.pod_affinity, affinity.pod_anti_affinity) if affinity else ():
        if kind is not None:
            for term in _all_terms(
                kind.required_during_scheduling_ignored_during_execution,
                kind.preferred_during_scheduling_ignored_during_execution,
            ):
                keys.update(term.match_label_keys, term.mismatch_label_keys, _keys(term.label_selector))
    constraint: TopologySpreadConstraint
    for constraint in pod.spec.topology_spread_constraints:
        keys.update(constraint.match_label_keys, _keys(constraint.label_selector))
    return keys


def selected_namespaces(pod: Pod, namespaces: Namespaces) -> list[list[str]]:
    """For each term with a namespace selector, the namespaces that it selects now."""
    affinity = pod.spec.affinity
    found = []
    for kind in (affinity.pod_affinity, affinity.pod_anti_affinity) if affinity else ():
        if kind is not None:
            for term in _all_terms(
                kind.required_during_scheduling_ignored_during_execution,
                kind.preferred_during_scheduling_ignored_during_execution,
            ):
                if term.namespace_selector is not None:
                    found.append(sorted(_selected(term.namespace_selector, namespaces)))
    return found


def _terms(
    pod: Pod,
    required: Sequence[PodAffinityTerm],
    preferred: Sequence[WeightedPodAffinityTerm],
    namespaces: Namespaces,
) -> tuple[PodTerm, ...]:
    hard = [_term(pod, term, 0, namespaces) for term in required]
    soft = [_term(pod, p.pod_affinity_term, p.weight, namespaces) for p in preferred if p.pod_affinity_term is not None]
    return tuple(hard + soft)


def _term(pod: Pod, term: PodAffinityTerm, weight: int, namespaces: Namespaces) -> PodTerm:
    extra = (*_picked(pod, term.match_label_keys, "in"), *_picked(pod, term.mismatch_label_keys, "notin"))
    selector = _selector(term.label_selector, extra)
    of = frozenset(term.namespaces)
    if term.namespace_selector is not None:
        if not term.namespace_selector.match_labels and not term.namespace_selector.match_expressions:
            of = frozenset()
        else:
            of |= _selected(term.namespace_selector, namespaces)
            if not of:
                selector = NOTHING
    elif not of:
        of = frozenset([pod.metadata.namespace])
    return PodTerm(selector, of, term.topology_key, weight)


def _selected(selector: LabelSelector, namespaces: Namespaces) -> frozenset[str]:
    wanted = _selector(selector, ())
    return frozenset(name for name, labels in namespaces.items() if wanted.matches(labels))


def _selector(selector: LabelSelector | None, extra: Iterable[Requirement]) -> Selector:
    """The selector as a matcher; an operator that nobody knows, which only a file can hold, matches nothing."""
    if selector is None:
        return NOTHING
    found = [Requirement(key, "in", (value,)) for key, value in selector.match_labels.items()]
    for each in selector.match_expressions:
        operator = _OPERATORS.get(each.operator)
        if operator is None:
            return NOTHING
        found.append(Requirement(each.key, operator, tuple(each.values)))
    # matchLabelKeys are merged by newer API servers: the same requirement twice is one.
    unique = dict.fromkeys((*found, *extra))
    return Selector(tuple(sorted(unique, key=lambda r: r.key))) if unique else EVERYTHING


def _picked(pod: Pod, keys: Iterable[str], operator: str) -> tuple[Requirement, ...]:
    """Requirements made of the pod's own labels; keys that it lacks are ignored."""
    labels = pod.metadata.labels
    return tuple(Requirement(key, operator, (labels[key],)) for key in keys if key in labels)


def _keys(selector: LabelSelector | None) -> Iterator[str]:
    if selector is not None:
        yield from selector.match_labels
        yield from (each.key for each in selector.match_expressions)


def _all_terms(
    required: Sequence[PodAffinityTerm], preferred: Sequence[WeightedPodAffinityTerm]
) -> Iterator[PodAffinityTerm]:
    yield from required
    yield from (p.pod_affinity_term for p in preferred if p.pod_affinity_term is not None)
