"""What a placement decision sees: nodes with what is left on them, and a pod with what it asks for.

Amounts are integers in base units: cpu in millicores, everything else in units (bytes, pods, devices).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.kube.selectors import Requirement

Amounts = Mapping[str, int]
"""Resource name -> amount; "cpu" in millicores, "memory" in bytes, "pods" in pods."""


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Toleration:
    """As in a pod spec; an empty key with Exists tolerates everything, an empty effect every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.value == taint.value


@dataclass(frozen=True, slots=True)
class Term:
    """A node selector term: all of its requirements; an empty term matches no node."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, node: NodeView) -> bool:
        if not self.labels and not self.fields:
            return False
        named = {"metadata.name": node.name}
        return all(r.matches(node.labels) for r in self.labels) and all(r.matches(named) for r in self.fields)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node at one moment. `used` counts every pod bound or assumed to be bound to it."""

    name: str
    allocatable: Amounts
    used: Amounts = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    host_ports: frozenset[tuple[str, int]] = frozenset()
    """(protocol, port) pairs taken by pods of the host network."""

    def free(self, resource: str) -> int:
        return self.allocatable.get(resource, 0) - self.used.get(resource, 0)


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod that wants a node. `requests` includes "pods": 1 and the pod overhead."""

    namespace: str
    name: str
    uid: str
    requests: Amounts
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity_terms: tuple[Term, ...] | None = None
    """Required node affinity: any of the terms; None where there is none."""
    tolerations: tuple[Toleration, ...] = ()
    host_ports: frozenset[tuple[str, int]] = frozenset()
    priority: int = 0
    claims: tuple[str, ...] = ()
    """Names of the resource claims that the pod uses."""
    claim_terms: tuple[tuple[Term, ...], ...] = ()
    """Where the allocated devices can be used: for each claim that says so, any of its terms."""
    waits_for: str = ""
    """Why the pod cannot be placed yet whatever the nodes are (a gate, an unallocated claim); empty if nothing."""
    created_s: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def add(left: Amounts, right: Amounts) -> dict[str, int]:
    """Sum of two amounts, resource by resource."""
    return {name: left.get(name, 0) + right.get(name, 0) for name in left.keys() | right.keys()}
