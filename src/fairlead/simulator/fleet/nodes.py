"""Nodes: where replicas get their accelerators, how long a new node takes, what all of them cost.

Placement is first fit in order of age, so that young nodes empty and go back.
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead.simulator.fleet.agenda import Agenda
from fairlead.simulator.fleet.config import NodeSpec, ScenarioError
from fairlead.simulator.fleet.replica import Replica

_ROUNDING_S = 1e-6


class Node:
    """`free` of its accelerators are free. Paid for from `since_s`; ready from `ready_s`."""

    __slots__ = ("empty_since_s", "free", "is_ready", "number", "since_s")

    def __init__(self, number: int, free: int, since_s: float, is_ready: bool) -> None:
        self.number = number
        self.free = free
        self.since_s = since_s
        self.is_ready = is_ready
        self.empty_since_s: float | None = since_s


class Nodes:
    """Hands accelerators to replicas in the order in which they asked, and asks for nodes while they are short.

    `granted(now_s, replica)` is called when a replica has its accelerators. Without a specification there are always
    enough, at once.
    """

    def __init__(self, spec: NodeSpec | None, agenda: Agenda, granted: Callable[[float, Replica], None]) -> None:
        self._spec = spec
        self._agenda = agenda
        self._granted = granted
        self._nodes: list[Node] = []
        self._made = 0
        self._waiting: list[Replica] = []
        self.accelerator_s = 0.0
        """Accelerators × seconds of nodes that have gone back."""
        if spec is not None:
            for _ in range(spec.spare):
                self._add(0.0, is_ready=True)

    def place_first(self, replica: Replica) -> None:
        """A replica that is there from the start, on a node that is too. Raises ScenarioError."""
        if self._spec is None:
            return
        self._check(replica)
        self._put(self._with_room(replica) or self._add(0.0, is_ready=True), replica)

    def ask(self, now_s: float, replica: Replica) -> None:
        """Accelerators for a replica. Raises ScenarioError when no node could ever have enough of them."""
        spec = self._spec
        if spec is None:
            self._granted(now_s, replica)
            return
        self._check(replica)
        self._waiting.append(replica)
        self._serve(now_s)

    def give_back(self, now_s: float, replica: Replica) -> None:
        """The replica is gone, or no longer wants any."""
        if replica in self._waiting:
            self._waiting.remove(replica)
            return
        node, replica.node = replica.node, None
        if node is None or self._spec is None:
            return
        node.free += replica.model.accelerators
        if node.free == self._spec.accelerators:
            node.empty_since_s = now_s
            self._agenda.at(now_s + self._spec.release_after_s, self._release, node, tick=True)
        self._serve(now_s)

    def paid_accelerator_s(self, now_s: float) -> float | None:
        """Accelerators × seconds of all nodes up to now; None without nodes."""
        if self._spec is None:
            return None
        return self.accelerator_s + sum((now_s - node.since_s) * self._spec.accelerators for node in self._nodes)

    @property
    def count(self) -> int:
        """Nodes that are there or on their way."""
        return len(self._nodes)

    def _check(self, replica: Replica) -> None:
        assert self._spec is not None
        if replica.model.accelerators > self._spec.accelerators:
            raise ScenarioError(
                f"a replica of pool {replica.pool} needs {replica.model.accelerators} accelerators and a node has "
                f"{self._spec.accelerators}: raise nodes.accelerators"
            )

    @staticmethod
    def _put(node: Node, replica: Replica) -> None:
        node.free -= replica.model.accelerators
        node.empty_since_s = None
        replica.node = node

    def _add(self, now_s: float, is_ready: bool) -> Node:
        assert self._spec is not None
        self._made += 1
        node = Node(self._made, self._spec.accelerators, now_s, is_ready)
        self._nodes.append(node)
        return node

    def _serve(self, now_s: float) -> None:
        """First come, first served; then as many new nodes as those who still wait would fill."""
        spec = self._spec
        assert spec is not None
        while self._waiting and (node := self._with_room(self._waiting[0])) is not None:
            replica = self._waiting.pop(0)
            self._put(node, replica)
            self._granted(now_s, replica)
        missing = sum(replica.model.accelerators for replica in self._waiting)
        coming = sum(node.free for node in self._nodes if not node.is_ready)
        while missing > coming and len(self._nodes) < spec.max_nodes:
            node = self._add(now_s, is_ready=False)
            coming += spec.accelerators
            self._agenda.at(now_s + spec.provision_s, self._ready, node)

    def _with_room(self, replica: Replica) -> Node | None:
        needed = replica.model.accelerators
        return next((node for node in self._nodes if node.is_ready and node.free >= needed), None)

    def _ready(self, now_s: float, node: Node) -> None:
        node.is_ready = True
        self._serve(now_s)
        if node.empty_since_s is not None:
            node.empty_since_s = now_s
            assert self._spec is not None
            self._agenda.at(now_s + self._spec.release_after_s, self._release, node, tick=True)

    def _release(self, now_s: float, node: Node) -> None:
        spec = self._spec
        assert spec is not None
        if node not in self._nodes or node.empty_since_s is None:
            return
        if now_s - node.empty_since_s < spec.release_after_s - _ROUNDING_S:
            return
        self._nodes.remove(node)
        self.accelerator_s += (now_s - node.since_s) * spec.accelerators
