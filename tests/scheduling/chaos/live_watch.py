"""What an outsider sees through the API, and the rules that must hold in every state that it shows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.kube.informer import Handler, Informers
from fairlead.kube.kinds import PODS, RESOURCE_CLAIMS
from fairlead.kube.objects import Pod
from fairlead.kube.objects.devices import ResourceClaim

NAMESPACE: Final = "default"
PARTIAL_S: Final = 30.0
"""How long a part of a gang may stand while nothing is disturbed."""

Device = tuple[str, str]
"""Pool and name."""
CUTS: Final[Mapping[str, int]] = {"whole": 4, "half0": 2, "half1": 2}
"""What the devices that are cut out of one die take of its counter."""


@dataclass
class Watch:
    """Claims and pods as their watches tell them: each kind in the order of its versions."""

    informers: Informers
    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    several: bool = False
    """Whether two schedulers are, or were a moment ago, at work: nothing keeps them from filling a node twice."""
    gangs: dict[str, int] = field(default_factory=dict)
    """Gang name -> how many of its pods have to stand."""
    _holders: dict[Device, dict[str, str]] = field(default_factory=dict)
    """Uids and names of claims."""
    _twice: dict[Device, float] = field(default_factory=dict)
    """Since when more than one claim holds a device."""
    _relists: int = 1
    _shares: dict[str, dict[Device, int]] = field(default_factory=dict)
    _held: dict[str, set[Device]] = field(default_factory=dict)
    _partial: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        self.pods = self.informers.informer(PODS)
        self.claims = self.informers.informer(RESOURCE_CLAIMS)
        self.claims.add_handler(Handler(self._claim, lambda _, new: self._claim(new), self._claim_gone))
        self.pods.add_handler(Handler(lambda new: self._pod(None, new), self._pod, None))

    def disturbed(self) -> None:
        """Whoever was at work on a gang begins anew."""
        self._partial.clear()
        self._twice = dict.fromkeys(self._twice, time.monotonic())

    # Claims

    def _claim(self, claim: ResourceClaim) -> None:
        self.counts["claim events"] += 1
        name = claim.metadata.uid
        self._let_go(name)
        allocation = claim.status.allocation
        if allocation is None or allocation.devices is None:
            return
        for result in allocation.devices.results:
            device = result.pool, result.device
            if result.share_id:
                amount = int(result.consumed_capacity["memory"].removesuffix("Gi"))
                self._shares.setdefault(name, {})[device] = amount
                total = sum(shares.get(device, 0) for shares in self._shares.values())
                if total > 40:
                    self.broken.append(f"{total}Gi of device {device} are given out")
                continue
            others = self._holders.setdefault(device, {})
            if others:
                self.counts["devices given out twice"] += 1
                self._twice.setdefault(device, time.monotonic())
                # Of two schedulers the later one sees it before it binds, and gives back. A list that comes anew tells
                # of claims in no order.
                if not self.several and self.claims.relists == self._relists:
                    self.broken.append(
                        f"device {device} is held by {sorted(others.values())} and {claim.metadata.name}"
                    )
            others[name] = claim.metadata.name
            self._held.setdefault(name, set()).add(device)
            if device[1] in CUTS:
                taken = sum(CUTS.get(held, 0) for pool, held in self._holders if pool == device[0])
                if taken > CUTS["whole"]:
                    self.broken.append(f"{taken} of {CUTS['whole']} slices of pool {device[0]} are given out")

    def _claim_gone(self, claim: ResourceClaim) -> None:
        self._let_go(claim.metadata.uid)

    def _let_go(self, name: str) -> None:
        self._shares.pop(name, None)
        for device in self._held.pop(name, ()):
            holders = self._holders[device]
            holders.pop(name, None)
            if not holders:
                del self._holders[device]
            if len(holders) < 2:
                self._twice.pop(device, None)

    # Pods

    def _pod(self, old: Pod | None, new: Pod) -> None:
        self.counts["pod events"] += 1
        if not new.spec.node_name or (old is not None and old.spec.node_name):
            return
        self.counts["pods bound"] += 1
        if old is not None and old.metadata.is_deleting:
            self.counts["bound while being deleted"] += 1
        if self.several:
            return
        on = [p for p in self.pods.store if p.spec.node_name == new.spec.node_name and not is_done(p)]
        cpu = sum(cpu_of(p) for p in on)
        if cpu > CPU_OF_NODE:
            self.broken.append(f"{cpu} cpu on {new.spec.node_name}: {sorted(p.metadata.name for p in on)}")

    def check_now(self) -> None:
        """Call now and then: devices that two pods have got, gangs of which a part stands for too long."""
        now_s = time.monotonic()
        self._relists = self.claims.relists
        for device, since_s in self._twice.items():
            users = [name for uid, name in self._holders[device].items() if self._is_in_use(uid)]
            if len(users) > 1 or now_s - since_s > PARTIAL_S:
                self.broken.append(
                    f"device {device} is held by {sorted(self._holders[device].values())}, used by {users}"
                )
        standing: Counter[str] = Counter()
        for pod in self.pods.store:
            gang = pod.metadata.labels.get("fairlead.dev/gang", "")
            if gang and pod.spec.node_name and not pod.metadata.is_deleting and pod.status.phase != "Failed":
                standing[gang] += 1
        partial = {gang for gang, count in standing.items() if count < self.gangs.get(gang, 0)}
        self._partial = {gang: self._partial.get(gang, now_s) for gang in partial}
        for gang, since_s in self._partial.items():
            if now_s - since_s > PARTIAL_S:
                self.broken.append(f"{standing[gang]} of {self.gangs[gang]} pods of gang {gang} stand for too long")

    def _is_in_use(self, uid: str) -> bool:
        """Whether a claim is reserved for a pod that has a node."""
        consumers = {
            c.uid for claim in self.claims.store if claim.metadata.uid == uid for c in claim.status.reserved_for
        }
        return any(pod.metadata.uid in consumers and pod.spec.node_name and not is_done(pod) for pod in self.pods.store)

    def leaks(self) -> list[str]:
        """What is held for nobody, in a state of rest."""
        pods = {pod.metadata.uid: pod for pod in self.pods.store}
        found = []
        for claim in self.claims.store:
            for consumer in claim.status.reserved_for:
                pod = pods.get(consumer.uid)
                if pod is None or is_done(pod) or not pod.spec.node_name:
                    state = "gone" if pod is None else pod.status.phase
                    found.append(f"claim {claim.metadata.name} is reserved for {consumer.name}, which is {state}")
            if claim.status.allocation is not None and not claim.status.reserved_for:
                found.append(f"claim {claim.metadata.name} has devices for nobody")
            owners = [owner.uid for owner in claim.metadata.owner_references]
            if owners and owners[0] not in pods:
                found.append(f"claim {claim.metadata.name} has outlived its pod")
        return found


CPU_OF_NODE: Final = 8.0


def is_done(pod: Any) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def cpu_of(pod: Pod) -> float:
    texts = [c.resources.requests.get("cpu", "0") for c in pod.spec.containers]
    return sum(float(t[:-1]) / 1000 if t.endswith("m") else float(t) for t in texts)
