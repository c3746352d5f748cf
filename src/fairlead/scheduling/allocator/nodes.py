"""Which nodes reach a slice or a device, and the node selector that an allocation needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fairlead.kube.objects.placement import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from fairlead.kube.selectors import Requirement
from fairlead.scheduling.allocator.errors import AllocationError, Fault

OPERATORS: Final = {
    "In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt",
}  # fmt: skip
"""Operator in a node selector -> operator of a `Requirement`."""
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class NodePlace:
    """What device allocation looks at in a node."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Term:
    """One alternative of a node selector: all its requirements on labels and fields hold."""

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    def matches(self, node: NodePlace) -> bool:
        if not all(requirement.matches(node.labels) for requirement in self.labels):
            return False
        return not node.name or all(requirement.matches({"metadata.name": node.name}) for requirement in self.fields)


@dataclass(frozen=True, slots=True)
class Reach:
    """The nodes from which something can be used: one node, all, or those that a selector chooses. Else none."""

    node_name: str = ""
    all_nodes: bool = False
    selector: NodeSelector | None = None

    @property
    def is_stated(self) -> bool:
        return bool(self.node_name) or self.all_nodes or self.selector is not None

    def includes(self, node: NodePlace) -> bool:
        """Whether `node` is among them. Raises AllocationError for a selector that cannot be read."""
        if self.node_name:
            return self.node_name == node.name
        if self.all_nodes:
            return True
        if self.selector is None:
            return False
        return any([term.matches(node) for term in read_terms(self.selector)])


def read_terms(selector: NodeSelector) -> tuple[Term, ...]:
    """The alternatives of a node selector; a term without requirements selects nothing and is left out."""
    return tuple(
        Term(
            tuple(map(_label_requirement, term.match_expressions)),
            tuple(map(_field_requirement, term.match_fields)),
        )
        for term in selector.node_selector_terms
        if term.match_expressions or term.match_fields
    )


def selector_of_node(name: str) -> NodeSelector:
    """The selector of exactly one node."""
    requirement = NodeSelectorRequirement(key="metadata.name", operator="In", values=(name,))
    return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(requirement,)),))


def merge_reaches(reaches: Iterable[tuple[Reach, bool]], node: NodePlace) -> NodeSelector | None:
    """The node selector of an allocation made for `node`, None where it can be used everywhere.

    Each device gives its reach and whether it binds its user to the node. One device that is local or binds makes the
    whole allocation local; selectors of network-attached devices are merged into one term without repetitions.
    """
    expressions: list[NodeSelectorRequirement] = []
    fields: list[NodeSelectorRequirement] = []
    for reach, binds in reaches:
        if reach.node_name or binds:
            return selector_of_node(node.name)
        terms = reach.selector.node_selector_terms if reach.selector is not None else ()
        if len(terms) > 1:
            raise AllocationError(
                Fault.NODE_SELECTOR, f"unsupported ResourceSlice.NodeSelector with {len(terms)} terms: give it one"
            )
        for term in terms:
            _add_missing(fields, term.match_fields)
            _add_missing(expressions, term.match_expressions)
    if not expressions and not fields:
        return None
    return NodeSelector(
        node_selector_terms=(NodeSelectorTerm(match_expressions=tuple(expressions), match_fields=tuple(fields)),)
    )


def _add_missing(into: list[NodeSelectorRequirement], requirements: Iterable[NodeSelectorRequirement]) -> None:
    for new in requirements:
        if not any(
            (old.key, old.operator, set(old.values)) == (new.key, new.operator, set(new.values)) for old in into
        ):
            into.append(new)


def _label_requirement(requirement: NodeSelectorRequirement) -> Requirement:
    operator = OPERATORS.get(requirement.operator)
    if operator is None:
        raise _unreadable(requirement, f"operator must be one of {', '.join(OPERATORS)}")
    values = requirement.values
    if operator in ("in", "notin") and not values:
        raise _unreadable(requirement, "values must not be empty")
    if operator in ("exists", "!") and values:
        raise _unreadable(requirement, "values must be empty")
    if operator in ("gt", "lt") and (len(values) != 1 or not _INTEGER.fullmatch(values[0])):
        raise _unreadable(requirement, "values must be one integer")
    return Requirement(requirement.key, operator, tuple(values))


def _field_requirement(requirement: NodeSelectorRequirement) -> Requirement:
    if requirement.operator not in ("In", "NotIn"):
        raise _unreadable(requirement, "operator must be In or NotIn for a field")
    if len(requirement.values) != 1:
        raise _unreadable(requirement, "values must have one element for a field")
    return Requirement(requirement.key, OPERATORS[requirement.operator], tuple(requirement.values))


def _unreadable(requirement: NodeSelectorRequirement, why: str) -> AllocationError:
    text = f"{requirement.key} {requirement.operator} {list(requirement.values)}"
    return AllocationError(Fault.NODE_SELECTOR, f"node selector requirement {text}: {why}")
