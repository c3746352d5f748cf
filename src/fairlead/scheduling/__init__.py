"""Which node each pod goes to, and why not."""

from fairlead.scheduling.snapshot import NodeView, PodView, Shape, Taint, Toleration

__all__ = ["NodeView", "PodView", "Shape", "Taint", "Toleration"]
