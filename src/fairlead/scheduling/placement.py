"""The placement decision: a pod and the nodes in, a node or the reasons out. Pure and deterministic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.scheduling.filters import FILTERS
from fairlead.scheduling.snapshot import NodeView, PodView


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pod goes, or why it goes nowhere.

    `node` is None where no node fits; `rejections` maps node name -> first reason; `score` is in 0..100.
    """

    node: str | None
    score: float = 0.0
    rejections: Mapping[str, str] = field(default_factory=dict)
    waits_for: str = ""

    def explain(self) -> str:
        """One sentence in kube-scheduler's form: `0/3 nodes are available: 2 Insufficient cpu, 1 Too many pods.`"""
        if self.node is not None:
            return f"fits on {self.node} (score {self.score:.0f})"
        if self.waits_for:
            return self.waits_for
        total = len(self.rejections)
        if not total:
            return "no nodes available to schedule pods"
        counted = sorted(Counter(self.rejections.values()).items(), key=lambda item: (item[0], item[1]))
        return f"0/{total} nodes are available: {', '.join(f'{n} {reason}' for reason, n in counted)}."


DeviceCheck = Callable[[NodeView], str | None]
"""Why the pod's claims get no devices on a node; None where they do."""


def place(pod: PodView, nodes: Iterable[NodeView], lacks_devices: DeviceCheck | None = None) -> Placement:
    """The best node for a pod: of those that pass every filter, the emptiest after placing; ties by node name.

    Devices, the dearest question, are asked for of the best nodes first, until a node has them.
    """
    if pod.waits_for:
        return Placement(None, waits_for=pod.waits_for)
    rejections: dict[str, str] = {}
    fitting: list[tuple[float, str, NodeView]] = []
    for node in nodes:
        reason = next((r for f in FILTERS if (r := f(pod, node)) is not None), None)
        if reason is not None:
            rejections[node.name] = reason
            continue
        fitting.append((-compute_score(pod, node), node.name, node))
    if lacks_devices is None:
        best = min(fitting, default=None, key=lambda found: found[:2])
        return Placement(best[1], -best[0], rejections) if best else Placement(None, rejections=rejections)
    for negative, name, node in sorted(fitting, key=lambda found: found[:2]):
        reason = lacks_devices(node)
        if reason is None:
            return Placement(name, -negative, rejections)
        rejections[name] = reason
    return Placement(None, rejections=rejections)


def compute_score(pod: PodView, node: NodeView) -> float:
    """Mean free share of cpu, memory and pods in percent after placing: kube-scheduler's LeastAllocated, plus pods so
    that pods without requests spread as well. PreferNoSchedule taints not tolerated halve it."""
    shares = []
    for resource in ("cpu", "memory", "pods"):
        capacity = node.allocatable.get(resource, 0)
        if capacity > 0:
            shares.append(max(0.0, (node.free(resource) - pod.requests.get(resource, 0)) / capacity))
    score = 100.0 * sum(shares) / len(shares) if shares else 0.0
    avoided = [
        t for t in node.taints if t.effect == "PreferNoSchedule" and not any(x.tolerates(t) for x in pod.tolerations)
    ]
    for _ in avoided:
        score /= 2
    return score
