"""What a planner knows, kept apart from it: objects as they were told, and what it has decided since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Placed
from scheduling.chaos.cluster import is_done
from scheduling.chaos.truth import Truth


@dataclass
class Decided:
    """A pod that was given a node which the API does not show yet."""

    pod: PodView
    node: str
    gave: dict[str, AllocationResult]
    """Claims that got their devices with it."""


@dataclass
class Ledger:
    """Told and decided, together."""

    truth: Truth
    decided: dict[str, Decided] = field(default_factory=dict)
    """By pod uid."""
    claims: dict[str, tuple[str, AllocationResult]] = field(default_factory=dict)
    """Name -> uid of the claim and its devices, decided and not shown."""
    givers: dict[str, str] = field(default_factory=dict)
    """Name -> uid of the pod with which the devices are being written. Until that has ended they are nobody else's."""

    def note(self, placed: Placed) -> None:
        for each in placed.assignments:
            self.decided[each.pod.uid] = Decided(each.pod, each.node, dict(each.allocations))
            for name, allocation in each.allocations.items():
                claim = self.claim(name)
                self.claims[name] = (claim.metadata.uid if claim is not None else ""), allocation
                self.givers[name] = each.pod.uid

    def failed(self, pods: Iterable[PodView]) -> None:
        """Claims whose last user this was are without devices again."""
        for pod in pods:
            self.decided.pop(pod.uid, None)
            self.givers = {name: giver for name, giver in self.givers.items() if giver != pod.uid}
        for pod in pods:
            for name in pod.claims:
                self._drop_unused(name)

    def settle(self) -> None:
        """After something was told: what the API shows is no longer only decided."""
        pods = {pod.metadata.uid: pod for pod in self.pods()}
        for uid in list(self.decided):
            pod = pods.get(uid)
            if pod is None or pod.spec.node_name or pod.metadata.is_deleting or is_done(pod):
                del self.decided[uid]
        for name, (uid, _) in list(self.claims.items()):
            claim = self.claim(name)
            if claim is None or claim.metadata.uid != uid or claim.status.allocation is not None:
                del self.claims[name]
        self.givers = {name: giver for name, giver in self.givers.items() if name in self.claims}

    def pods(self) -> list[Pod]:
        return [obj for key, obj in self.truth.told.items() if key[0] == "Pod"]

    def node(self, name: str) -> Node | None:
        return self.truth.told.get(("Node", "", name))

    def claim(self, name: str) -> ResourceClaim | None:
        return self.truth.told.get(("ResourceClaim", "default", name))

    def place(self, pod: Pod) -> str:
        """The node where a pod counts; "" for none."""
        if pod.spec.node_name:
            return "" if is_done(pod) else pod.spec.node_name
        decided = self.decided.get(pod.metadata.uid)
        return decided.node if decided is not None else ""

    def on(self, node: str) -> list[Pod]:
        return [pod for pod in self.pods() if self.place(pod) == node]

    def allocations(self) -> dict[str, AllocationResult]:
        """Claim name -> devices that it has, for all that is known."""
        found = {
            key[2]: obj.status.allocation
            for key, obj in self.truth.told.items()
            if key[0] == "ResourceClaim" and obj.status.allocation is not None
        }
        return {**found, **{name: allocation for name, (_, allocation) in self.claims.items()}}

    def _drop_unused(self, name: str) -> None:
        if name not in self.claims or name in self.givers:
            return
        standing = [pod for pod in self.pods() if self.place(pod)]
        if not any(name in claim_names(pod) for pod in standing):
            del self.claims[name]


def claim_names(pod: Pod) -> set[str]:
    """Claims that a pod uses; "" where one is not made yet."""
    made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
    return {use.resource_claim_name or made.get(use.name, "") for use in pod.spec.resource_claims}
