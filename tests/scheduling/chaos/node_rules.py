"""What must hold for pods on nodes, said in the API's words: no code of the scheduler is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from fairlead.kube.objects import Node, Pod
from scheduling.chaos.ledger import Ledger

_UNITS = {"m": Decimal("0.001"), "Gi": Decimal(2**30), "": Decimal(1)}


def amount(text: str) -> Decimal:
    """The few forms of quantities that the churn writes."""
    unit = next(unit for unit in ("Gi", "m", "") if text.endswith(unit))
    return Decimal(text.removesuffix(unit)) * _UNITS[unit]


def is_tolerated(tolerations: Iterable[Any], taint: Any) -> bool:
    return any(
        (not t.effect or t.effect == taint.effect)
        and (not t.key or t.key == taint.key)
        and (t.operator == "Exists" or t.value == taint.value)
        for t in tolerations
    )


def may_stand(pod: Pod, node: Node | None) -> str:
    """Why a pod may not be put on a node, whoever else is there; empty if it may."""
    if node is None:
        return "there is no such node"
    if pod.metadata.is_deleting:
        return "the pod is being deleted"
    if pod.spec.scheduling_gates:
        return "the pod is gated"
    if pod.spec.scheduler_name != "fairlead":
        return "the pod is another scheduler's"
    if node.spec.unschedulable:
        return "the node is cordoned"
    for taint in node.spec.taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not is_tolerated(pod.spec.tolerations, taint):
            return f"the node has the taint {taint.key}:{taint.effect}"
    for key, value in pod.spec.node_selector.items():
        if node.metadata.labels.get(key) != value:
            return f"the node's {key} is not {value}"
    return ""


def overfull(ledger: Ledger, name: str, besides: frozenset[str] = frozenset(), arriving: Iterable[Pod] = ()) -> str:
    """What there is too much of on a node; `besides`: uids of pods that count as gone; `arriving`: pods that come."""
    node = ledger.node(name)
    pods = [*(pod for pod in ledger.on(name) if pod.metadata.uid not in besides), *arriving]
    if node is None:
        return ""
    cpu = sum((amount(c.resources.requests["cpu"]) for pod in pods for c in pod.spec.containers), Decimal(0))
    if cpu > amount(node.status.allocatable["cpu"]):
        return f"{cpu} cpu of {node.status.allocatable['cpu']}: {[pod.metadata.name for pod in pods]}"
    if len(pods) > int(node.status.allocatable["pods"]):
        return f"{len(pods)} pods"
    ports = Counter(port.host_port for pod in pods for c in pod.spec.containers for port in c.ports if port.host_port)
    twice = [port for port, count in ports.items() if count > 1]
    return f"host port {twice[0]} twice" if twice else ""


def parted(ledger: Ledger, pod: Pod, name: str, besides: frozenset[str] = frozenset()) -> str:
    """Which anti-affinity, of the pod or of another one, is hurt by the pod's being on a node."""
    node = ledger.node(name)
    assert node is not None
    for other in ledger.pods():
        there = ledger.node(ledger.place(other)) if ledger.place(other) else None
        if other.metadata.uid == pod.metadata.uid or there is None or other.metadata.uid in besides:
            continue
        for one, two in ((pod, other), (other, pod)):
            for key, wanted in _apart(one):
                here = node.metadata.labels.get(key)
                same = here is not None and here == there.metadata.labels.get(key)
                if same and all(two.metadata.labels.get(k) == v for k, v in wanted.items()):
                    return f"{one.metadata.name} wants no {wanted} in its {key}, {two.metadata.name} is there"
    return ""


def _apart(pod: Pod) -> list[tuple[str, dict[str, str]]]:
    affinity = pod.spec.affinity
    if affinity is None or affinity.pod_anti_affinity is None:
        return []
    terms = affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution
    return [(term.topology_key, dict(term.label_selector.match_labels)) for term in terms if term.label_selector]
