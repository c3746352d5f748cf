"""What a Node says that matters for the replicas on it. Pure."""

from __future__ import annotations

from typing import Final

from fairlead.clock import parse_time
from fairlead.kube.objects import Node
from fairlead.kube.objects.meta import find_condition
from fairlead.serving.observed import NodeState

LEAVING_TAINTS: Final = frozenset(
    (
        "node.kubernetes.io/unschedulable",
        "karpenter.sh/disrupted",
        "karpenter.sh/disruption",
        "ToBeDeletedByClusterAutoscaler",
        "cloud.google.com/impending-node-termination",
        "aws-node-termination-handler/spot-itn",
        "aws-node-termination-handler/scheduled-maintenance",
        "aws-node-termination-handler/asg-lifecycle-termination",
    )
)
"""By which those who are about to drain or stop a node say so, besides `spec.unschedulable`."""

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
"""By which a person says that a silent node is off: its pods are let go at once, as for a node that is no more."""

GRACE_S: Final = 40.0
"""A node becomes Unknown once it has been silent for the node controller's grace period (40 s, from Kubernetes 1.32 on
50 s). That silence counts."""

_LEAST_S: Final = 0.001


def node_state(node: Node, now_s: float) -> NodeState:
    """The state at wall time `now_s`. A node whose Ready condition was never set is only just joining."""
    ready = find_condition(node.status.conditions, "Ready")
    taints = {taint.key for taint in node.spec.taints}
    is_off = OUT_OF_SERVICE in taints
    if ready is None:
        return NodeState(node.metadata.name, ready=False, gone=is_off, cordoned=_is_leaving(node), reason=_why(node))
    said = ready.message or ready.reason
    lasted_s = max(_LEAST_S, now_s - (_time(ready.last_transition_time) or now_s))
    is_silent = ready.status == "Unknown"
    return NodeState(
        node.metadata.name,
        ready=ready.status == "True",
        unready_s=lasted_s if ready.status == "False" else 0.0,
        silent_s=GRACE_S + lasted_s if is_silent else 0.0,
        cordoned=_is_leaving(node),
        gone=is_off,
        reason=f"taint {OUT_OF_SERVICE}" if is_off else said if ready.status != "True" else _why(node),
    )


def node_gist(node: Node) -> tuple[object, ...]:
    """What of a node matters here: an update that leaves it as it is concerns nobody."""
    ready = find_condition(node.status.conditions, "Ready")
    status = (ready.status, ready.last_transition_time) if ready is not None else ()
    return bool(node.spec.unschedulable), tuple(sorted(t.key for t in node.spec.taints)), status


def _is_leaving(node: Node) -> bool:
    return bool(_why(node))


def _why(node: Node) -> str:
    """By what one sees that somebody drains it; empty where nobody does."""
    if node.spec.unschedulable:
        return "spec.unschedulable"
    key = next((taint.key for taint in node.spec.taints if taint.key in LEAVING_TAINTS), "")
    return f"taint {key}" if key else ""


def _time(text: str | None) -> float | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None
