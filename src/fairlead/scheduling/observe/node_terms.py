"""Node selectors and node affinity of objects, as terms."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.kube.objects import Pod
from fairlead.kube.objects.placement import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from fairlead.kube.selectors import Requirement
from fairlead.scheduling.allocator.nodes import OPERATORS
from fairlead.scheduling.snapshot import Term


def node_terms(selector: NodeSelector) -> tuple[Term, ...]:
    """The alternatives of a node selector. Operators that nobody knows match nothing."""
    return tuple(map(node_term, selector.node_selector_terms))


def node_term(term: NodeSelectorTerm) -> Term:
    return Term(_requirements(term.match_expressions), _requirements(term.match_fields))


def required_terms(pod: Pod) -> tuple[Term, ...] | None:
    """Required node affinity; None where the pod has none."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return None if required is None else node_terms(required)


def preferred_terms(pod: Pod) -> tuple[tuple[int, Term], ...]:
    """Weight and term of preferred node affinity."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    preferred = affinity.preferred_during_scheduling_ignored_during_execution if affinity else ()
    return tuple((p.weight, node_term(p.preference)) for p in preferred if p.preference is not None)


def _requirements(expressions: Iterable[NodeSelectorRequirement]) -> tuple[Requirement, ...]:
    return tuple(map(_requirement, expressions))


def _requirement(expression: NodeSelectorRequirement) -> Requirement:
    operator = OPERATORS.get(expression.operator)
    if operator is None or (operator in ("gt", "lt") and not _is_integer(expression.values)):
        return Requirement(expression.key, "in", ())
    return Requirement(expression.key, operator, tuple(expression.values))


def _is_integer(values: Iterable[str]) -> bool:
    """Whether there is one value, a number: an API server refuses anything else, a file may hold it."""
    found = tuple(values)
    try:
        return len(found) == 1 and int(found[0]) is not None
    except ValueError:
        return False
