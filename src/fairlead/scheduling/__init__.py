"""Which node each pod goes to, and why not."""

from fairlead.scheduling.placement import Placement, place
from fairlead.scheduling.snapshot import NodeView, PodView, Taint, Toleration

__all__ = ["NodeView", "Placement", "PodView", "Taint", "Toleration", "place"]
