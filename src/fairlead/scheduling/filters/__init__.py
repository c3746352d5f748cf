"""Whether a pod can run on a node, in kube-scheduler's words because people and tools know them.

`NODE_FILTERS` look at the pod and the node's object alone, `host_ports` and `resources` at what is on the node too.
Each answers None, or the reason. What depends on other nodes as well is in `inter_pod` and `spread`.
"""

from collections.abc import Callable
from typing import Final

from fairlead.scheduling.filters.claims import claims
from fairlead.scheduling.filters.host_ports import host_ports
from fairlead.scheduling.filters.node_affinity import node_affinity
from fairlead.scheduling.filters.resources import resources
from fairlead.scheduling.filters.taints import node_unschedulable, taints
from fairlead.scheduling.filters.volumes import volumes
from fairlead.scheduling.snapshot import NodeView, Shape

NodeFilter = Callable[[Shape, NodeView], str | None]

NODE_FILTERS: Final[tuple[NodeFilter, ...]] = (node_unschedulable, taints, node_affinity, volumes)

__all__ = [
    "NODE_FILTERS",
    "NodeFilter",
    "claims",
    "host_ports",
    "node_affinity",
    "node_unschedulable",
    "resources",
    "taints",
    "volumes",
]
