"""A node's view."""

from __future__ import annotations

from fairlead.kube.objects import Node
from fairlead.scheduling.observe.models import models_of_node
from fairlead.scheduling.observe.requests import amounts
from fairlead.scheduling.snapshot import NodeView, Taint


def observe_node(node: Node) -> NodeView:
    """A node as its object describes it."""
    return NodeView(
        name=node.metadata.name,
        allocatable=amounts(node.status.allocatable),
        labels=node.metadata.labels,
        taints=tuple(Taint(t.key, t.effect, t.value) for t in node.spec.taints),
        unschedulable=bool(node.spec.unschedulable),
        images={name: image.size_bytes or 0 for image in node.status.images for name in image.names},
        annotations=node.metadata.annotations,
        models=models_of_node(node.metadata.annotations),
    )
