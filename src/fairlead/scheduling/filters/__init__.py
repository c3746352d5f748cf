"""Whether a pod can run on a node, in kube-scheduler's words because people and tools know them.

`NODE_FILTERS` look at the pod and the node's object alone; `refuse_ports` and `refuse_resources` at what is on the node
too. Each answers None, or the reason. What depends on other nodes as well is in `inter_pod` and `spread`.
"""

from collections.abc import Callable
from typing import Final

from fairlead.scheduling.filters.claims import refuse_claims
from fairlead.scheduling.filters.host_ports import refuse_ports
from fairlead.scheduling.filters.node_affinity import refuse_affinity
from fairlead.scheduling.filters.resources import lacking_resources, refuse_resources
from fairlead.scheduling.filters.taints import refuse_closed, refuse_taints
from fairlead.scheduling.filters.volumes import refuse_volumes
from fairlead.scheduling.snapshot import NodeView, Shape

NodeFilter = Callable[[Shape, NodeView], str | None]

NODE_FILTERS: Final[tuple[NodeFilter, ...]] = (refuse_closed, refuse_taints, refuse_affinity, refuse_volumes)

__all__ = [
    "NODE_FILTERS",
    "NodeFilter",
    "lacking_resources",
    "refuse_affinity",
    "refuse_claims",
    "refuse_closed",
    "refuse_ports",
    "refuse_resources",
    "refuse_taints",
    "refuse_volumes",
]
