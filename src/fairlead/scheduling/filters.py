"""Whether a pod can run on a node: each filter answers None, or the reason in kube-scheduler's words.

The words are kept because people and tools know them; order is that of the cheapest and most telling first.
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead.scheduling.snapshot import NodeView, PodView, Taint

Filter = Callable[[PodView, NodeView], str | None]

_UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "NoSchedule")


def node_unschedulable(pod: PodView, node: NodeView) -> str | None:
    if node.unschedulable and not any(t.tolerates(_UNSCHEDULABLE) for t in pod.tolerations):
        return "node(s) were unschedulable"
    return None


def taints(pod: PodView, node: NodeView) -> str | None:
    for taint in node.taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not any(t.tolerates(taint) for t in pod.tolerations):
            return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    return None


def node_affinity(pod: PodView, node: NodeView) -> str | None:
    selected = all(node.labels.get(k) == v for k, v in pod.node_selector.items())
    if selected and (pod.affinity_terms is None or any(term.matches(node) for term in pod.affinity_terms)):
        return None
    return "node(s) didn't match Pod's node affinity/selector"


def claims(pod: PodView, node: NodeView) -> str | None:
    if all(any(term.matches(node) for term in terms) for terms in pod.claim_terms):
        return None
    return "resourceclaim not available on the node"


def host_ports(pod: PodView, node: NodeView) -> str | None:
    if pod.host_ports & node.host_ports:
        return "node(s) didn't have free ports for the requested pod ports"
    return None


def resources(pod: PodView, node: NodeView) -> str | None:
    if node.free("pods") < 1:
        return "Too many pods"
    for name, amount in pod.requests.items():
        if amount > node.free(name):
            return f"Insufficient {name}"
    return None


FILTERS: tuple[Filter, ...] = (node_unschedulable, taints, node_affinity, claims, host_ports, resources)
"""In order; the first that answers names the reason for its node."""
