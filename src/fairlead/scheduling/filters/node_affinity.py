"""The nodes that a pod selects."""

from __future__ import annotations

from fairlead.scheduling.snapshot import NodeView, Shape


def refuse_affinity(shape: Shape, node: NodeView) -> str | None:
    labels = node.labels
    for key, value in shape.node_selector.items():
        if labels.get(key) != value:
            return REASON
    if shape.affinity_terms is None or any(term.matches(node) for term in shape.affinity_terms):
        return None
    return REASON


REASON = "node(s) didn't match Pod's node affinity/selector"
