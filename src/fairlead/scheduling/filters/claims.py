"""Nodes that reach the devices which a pod's claims have already."""

from __future__ import annotations

from typing import Final

from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.observe.node_terms import node_terms
from fairlead.scheduling.snapshot import NodeView, Shape, Term

MOST_USERS: Final = 256
"""Pods that a claim can be reserved for (`status.reservedFor` of resource.k8s.io/v1)."""


def refuse_claims(terms: tuple[tuple[Term, ...], ...], node: NodeView) -> str | None:
    """`terms` as `claim_terms` gives them."""
    if all(any(term.matches(node) for term in alternatives) for alternatives in terms):
        return None
    return "resourceclaim not available on the node"


def claim_terms(shape: Shape, fleet: Fleet) -> tuple[tuple[Term, ...], ...]:
    """For each claim that has devices and is bound to nodes by them: the nodes, any of the terms. A claim that cannot
    have another user is bound to none."""
    found: list[tuple[Term, ...]] = []
    for key in shape.shared_claims:
        state = fleet.claims.get(key)
        if len(fleet.users.get(key, ())) >= MOST_USERS:
            found.append(())
        elif state is not None and state.allocation is not None and state.allocation.node_selector is not None:
            found.append(node_terms(state.allocation.node_selector))
    return tuple(found)
