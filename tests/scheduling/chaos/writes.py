"""The scheduler's hands, as the live side has them: verdicts are written in steps that fail, come late, or are lost."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from fairlead.kube.objects import Pod
from fairlead.kube.objects.devices import AllocationResult, ResourceClaim, ResourceClaimConsumerReference
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Cleared, Placed
from scheduling.chaos.cluster import Cluster


@dataclass
class Write:
    """A placed gang on its way."""

    placed: Placed
    claims: list[tuple[str, AllocationResult | None, list[PodView]]] = field(default_factory=list)
    """Name, what it gets (None: it has its devices), and the members that use it."""
    reserved: int = 0
    """How many of the claims are written."""

    def __post_init__(self) -> None:
        found: dict[str, tuple[str, AllocationResult | None, list[PodView]]] = {}
        for each in self.placed.assignments:
            for name in each.pod.claims:
                before = found.get(name, (name, None, []))
                found[name] = name, before[1] or each.allocations.get(name), [*before[2], each.pod]
        self.claims = list(found.values())


@dataclass
class Writes:
    """All that is under way. What ended is in `failed`, for the planner to be told."""

    cluster: Cluster
    dice: random.Random
    under_way: list[Write] = field(default_factory=list)
    leaving: list[tuple[Cleared, list[PodView]]] = field(default_factory=list)
    failed: list[list[PodView]] = field(default_factory=list)
    bound: int = 0
    evicted: int = 0

    def submit(self, verdict: Placed | Cleared) -> None:
        if isinstance(verdict, Placed):
            self.under_way.append(Write(verdict))
        elif verdict.victims:
            self.leaving.append((verdict, [pod for victims in verdict.victims for pod in victims.pods]))

    def step(self, *, may_fail: bool = True) -> None:
        """Something of what is under way gets further."""
        if self.under_way and (not self.leaving or self.dice.random() < 0.8):
            write = self.dice.choice(self.under_way)
            if may_fail and self.dice.random() < 0.06:
                self._fail(write, write.placed.gang.pods)
            elif write.reserved < len(write.claims):
                self._reserve(write)
            else:
                self._bind(write, may_fail)
        elif self.leaving:
            at = self.dice.randrange(len(self.leaving))
            cleared, victims = self.leaving[at]
            if may_fail and self.dice.random() < 0.05:
                # A budget says no.
                del self.leaving[at]
                self.failed.append(list(cleared.gang.pods))
                return
            self._evict(victims.pop())
            if not victims:
                del self.leaving[at]

    def crash(self) -> None:
        """The process is gone, and with it all that was on its way."""
        self.under_way.clear()
        self.leaving.clear()
        self.failed.clear()

    def _evict(self, view: PodView) -> None:
        pod = self._pod(view)
        if pod is not None and not pod.metadata.is_deleting:
            self.evicted += 1
            self.cluster.delete(pod)

    def _pod(self, view: PodView) -> Pod | None:
        pod: Pod | None = self.cluster.truth.get("Pod", view.name, view.namespace)
        return pod if pod is not None and pod.metadata.uid == view.uid else None

    def _reserve(self, write: Write) -> None:
        name, allocation, users = write.claims[write.reserved]
        claim: ResourceClaim | None = self.cluster.truth.get("ResourceClaim", name, users[0].namespace)
        shown = claim.status.allocation if claim is not None else None
        fits = claim is not None and not claim.metadata.is_deleting and (shown is not None or allocation is not None)
        if fits and shown is not None and allocation is not None:
            fits = results(shown) == results(allocation)
        if claim is None or not fits:
            self._fail(write, write.placed.gang.pods)
            return
        present = {consumer.uid for consumer in claim.status.reserved_for}
        new = [
            ResourceClaimConsumerReference(resource="pods", name=u.name, uid=u.uid)
            for u in users
            if u.uid not in present
        ]
        status = replace(claim.status, allocation=shown or allocation, reserved_for=(*claim.status.reserved_for, *new))
        self.cluster.truth.put(replace(claim, status=status))
        write.reserved += 1

    def _bind(self, write: Write, may_fail: bool) -> None:
        bindings = write.placed.assignments
        if any(
            ("ResourceClaim", users[0].namespace, name) in self.cluster.truth.late for name, _, users in write.claims
        ):
            # As the live side does: nothing is bound before the watch has shown what was written.
            return
        refused = [each for each in bindings if not self._may_bind(each.pod, each.node)]
        if refused:
            # As the live side does: nobody is bound whose gang is known not to come together.
            self._fail(write, write.placed.gang.pods)
            return
        lost = [each.pod for each in bindings if may_fail and self.dice.random() < 0.03]
        for each in bindings:
            if each.pod not in lost:
                pod = self._pod(each.pod)
                assert pod is not None
                if not pod.spec.node_name:
                    self.bound += 1
                    self.cluster.truth.edit(pod, spec={"node_name": each.node})
        if lost:
            self._fail(write, lost)
        else:
            self.under_way.remove(write)

    def _may_bind(self, view: PodView, node: str) -> bool:
        pod = self._pod(view)
        return (
            pod is not None and not pod.metadata.is_deleting and pod.spec.node_name in ("", node)
            and not pod.spec.scheduling_gates
        )  # fmt: skip

    def _fail(self, write: Write, pods: Any) -> None:
        """What was reserved for pods that are not bound is given back."""
        mine = {each.pod.uid for each in write.placed.assignments}
        gone = {pod.uid for pod in pods if pod.uid in mine}
        for name, allocation, users in write.claims:
            claim: ResourceClaim | None = self.cluster.truth.get("ResourceClaim", name, users[0].namespace)
            if claim is None:
                continue
            kept = tuple(c for c in claim.status.reserved_for if c.uid not in gone)
            shown = claim.status.allocation
            frees = not kept and shown is not None and allocation is not None and results(shown) == results(allocation)
            if len(kept) < len(claim.status.reserved_for) or frees:
                status = replace(claim.status, reserved_for=kept, allocation=None if frees else shown)
                self.cluster.truth.put(replace(claim, status=status))
        if write in self.under_way:
            self.under_way.remove(write)
        self.failed.append([each.pod for each in write.placed.assignments if each.pod.uid in gone])


def results(allocation: AllocationResult) -> list[tuple[str, ...]]:
    """Which devices, whoever has added what besides."""
    found = allocation.devices.results if allocation.devices is not None else ()
    return [(r.request, r.driver, r.pool, r.device, r.share_id) for r in found]
