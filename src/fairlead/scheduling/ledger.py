"""What is taken on each node: pods bound according to the API, and pods this scheduler has decided but not yet seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fairlead.kube.objects import Pod
from fairlead.scheduling.observe import pod_host_ports, pod_requests
from fairlead.scheduling.snapshot import add


@dataclass(slots=True)
class _Share:
    node: str
    requests: dict[str, int]
    host_ports: frozenset[tuple[str, int]]


@dataclass(slots=True)
class _Usage:
    amounts: dict[str, int] = field(default_factory=dict)
    host_ports: frozenset[tuple[str, int]] = frozenset()


class Ledger:
    """Usage by node, kept by pod uid: a pod counts once, whether seen, assumed, or both in either order."""

    def __init__(self, on_room: Callable[[], None] = lambda: None) -> None:
        """`on_room` is called when something is given back: pods that did not fit may fit now."""
        self._shares: dict[str, _Share] = {}  # pod uid -> what it takes
        self._usage: dict[str, _Usage] = {}  # node name -> total
        self._on_room = on_room

    def observe(self, pod: Pod) -> None:
        """The API says where the pod is, or that it has ended."""
        if not pod.spec.node_name:
            return
        if pod.status.phase in ("Succeeded", "Failed"):
            self.forget(pod.metadata.uid)
        else:
            self._put(pod, pod.spec.node_name)

    def assume(self, pod: Pod, node: str) -> None:
        """Count a pod on a node before the API says so."""
        self._put(pod, node)

    def forget(self, uid: str) -> None:
        """The pod is gone, or its binding failed."""
        share = self._shares.pop(uid, None)
        if share is None:
            return
        usage = self._usage[share.node]
        usage.amounts = {k: v - share.requests.get(k, 0) for k, v in usage.amounts.items()}
        if share.host_ports:
            taken = (s.host_ports for s in self._shares.values() if s.node == share.node)
            usage.host_ports = frozenset().union(*taken)
        self._on_room()

    def assumed_node(self, uid: str) -> str | None:
        """Where the pod counts now, or None."""
        share = self._shares.get(uid)
        return share.node if share else None

    def used(self, node: str) -> dict[str, int]:
        return self._usage[node].amounts if node in self._usage else {}

    def host_ports(self, node: str) -> frozenset[tuple[str, int]]:
        return self._usage[node].host_ports if node in self._usage else frozenset()

    def _put(self, pod: Pod, node: str) -> None:
        uid = pod.metadata.uid
        known = self._shares.get(uid)
        if known is not None:
            if known.node == node:
                return
            self.forget(uid)
        share = _Share(node, pod_requests(pod), pod_host_ports(pod))
        self._shares[uid] = share
        usage = self._usage.setdefault(node, _Usage())
        usage.amounts = add(usage.amounts, share.requests)
        usage.host_ports |= share.host_ports
