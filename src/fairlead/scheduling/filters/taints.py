"""Taints that a pod does not tolerate, and nodes that are closed."""

from __future__ import annotations

from typing import Final

from fairlead.scheduling.snapshot import NodeView, Shape, Taint

_UNSCHEDULABLE: Final = Taint("node.kubernetes.io/unschedulable", "NoSchedule")


def refuse_closed(shape: Shape, node: NodeView) -> str | None:
    if node.unschedulable and not is_tolerated(shape, _UNSCHEDULABLE):
        return "node(s) were unschedulable"
    return None


def refuse_taints(shape: Shape, node: NodeView) -> str | None:
    for taint in node.taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not is_tolerated(shape, taint):
            return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    return None


def is_tolerated(shape: Shape, taint: Taint) -> bool:
    return any(toleration.tolerates(taint) for toleration in shape.tolerations)
