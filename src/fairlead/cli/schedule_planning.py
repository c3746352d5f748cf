"""A planner run to its end on lists of objects: what it decides comes true at once, as on a cluster that only obeys.

Pods that got a node are bound, their claims allocated; pods that must leave are gone, and where a controller owns them
another one takes their place in the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from fairlead.cli.schedule_admit import uid_for
from fairlead.cli.schedule_inputs import Inputs, kind_of
from fairlead.cli.schedule_planner import see
from fairlead.clock import format_time
from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.kube.objects.devices import AllocationResult, ResourceClaimConsumerReference
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Cleared, Placed, Refused, Verdict

_WAIT_S: Final = 30.0
"""How long a refused gang may be left alone before it is looked at again."""
_MOST_ROUNDS: Final = 1000
_MOST_RETURNS: Final = 1

Step = Callable[[int, int], None]
"""Told how many gangs were decided about, and how many of them have a place."""


@dataclass(slots=True)
class Plan:
    """What came of it. Gangs by their identity."""

    placed: dict[tuple[str, str, str], Placed] = field(default_factory=dict)
    refused: dict[tuple[str, str, str], Refused] = field(default_factory=dict)
    cleared: list[Cleared] = field(default_factory=list)
    """Evictions, in order."""
    evicted: list[str] = field(default_factory=list)
    """Pods that had to leave, namespace/name."""
    order: list[tuple[str, str, str]] = field(default_factory=list)
    """Gangs in the order of the first decision about each."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Kinds that the planner does not look at -> objects."""

    def leave(self, identity: tuple[str, str, str], pods: Iterable[PodView]) -> None:
        """Pods of a gang have to go: they have no place any more."""
        gone = {pod.full_name for pod in pods}
        self.evicted += sorted(gone)
        before = self.placed.pop(identity, None)
        if before is not None:
            kept = tuple(each for each in before.assignments if each.pod.full_name not in gone)
            if kept:
                self.placed[identity] = replace(before, assignments=kept)


class Simulation:
    """One planner and the objects that it was told of."""

    def __init__(self, settings: Settings, now_s: float, step: Step = lambda decided, placed: None) -> None:
        self.planner = Planner(settings)
        self.now_s = now_s
        self.plan = Plan()
        self._step = step
        self._pods: dict[str, Pod] = {}
        self._claims: dict[tuple[str, str], ResourceClaim] = {}
        self._returns: Counter[str] = Counter()

    def add(self, inputs: Inputs) -> None:
        """These objects are there from now on."""
        for obj in inputs.objects:
            self._see(obj)

    def run(self) -> Plan:
        """Decides until nothing is left to decide. Each gang is told of by the last verdict about it."""
        waited = False
        for _ in range(_MOST_ROUNDS):
            if self._decide_all():
                waited = False
            elif waited or not self._is_open():
                break
            else:
                waited = True
            self.now_s += _WAIT_S
        self._tell_of_the_rest()
        return self.plan

    def _decide_all(self) -> bool:
        """Whether anything got a place or was evicted."""
        stirred = False
        while (verdict := self.planner.decide(self.now_s)) is not None:
            stirred = self._come_true(verdict) or stirred
            self._step(len(self.plan.order), len(self.plan.placed))
        return stirred

    def _is_open(self) -> bool:
        return any(gang.pods and not gang.waits_for for gang in self.planner.roster.gangs())

    def _tell_of_the_rest(self) -> None:
        """Gangs that wait for something else, and so were never decided about."""
        for gang in list(self.planner.roster.gangs()):
            known = gang.identity in self.plan.refused or gang.identity in self.plan.placed
            if gang.pods and not known:
                verdict = self.planner.verdict_of(gang, self.now_s)
                if isinstance(verdict, Refused):
                    self._note(verdict)

    def _come_true(self, verdict: Verdict) -> bool:
        self._note(verdict)
        if isinstance(verdict, Placed):
            for each in verdict.assignments:
                for name, allocation in each.allocations.items():
                    self._allocate(each.pod.namespace, name, each.pod.uid, allocation)
                self._bind(each.pod.uid, each.node)
            return True
        if isinstance(verdict, Cleared):
            for victims in verdict.victims:
                self.plan.leave(victims.gang.identity, victims.pods)
                for pod in victims.pods:
                    self._evict(pod.uid)
            return bool(verdict.victims)
        return False

    def _note(self, verdict: Verdict) -> None:
        identity = verdict.gang.identity
        if identity not in self.plan.order:
            self.plan.order.append(identity)
        if isinstance(verdict, Cleared):
            self.plan.cleared.append(verdict)
        elif isinstance(verdict, Placed):
            self.plan.refused.pop(identity, None)
            self.plan.placed[identity] = merged(self.plan.placed.get(identity), verdict)
        else:
            self.plan.refused[identity] = verdict

    def _see(self, obj: Any) -> None:
        if isinstance(obj, Pod):
            self._pods[obj.metadata.uid] = obj
        elif isinstance(obj, ResourceClaim):
            self._claims[obj.metadata.namespace, obj.metadata.name] = obj
        if not see(self.planner, obj):
            self.plan.unseen[kind_of(obj)] += 1

    def _bind(self, uid: str, node: str) -> None:
        pod = self._pods.get(uid)
        if pod is None:
            return
        status = msgspec.structs.replace(pod.status, phase="Running", start_time=format_time(self.now_s))
        spec = msgspec.structs.replace(pod.spec, node_name=node)
        self._see(msgspec.structs.replace(pod, spec=spec, status=status))

    def _allocate(self, namespace: str, name: str, uid: str, allocation: AllocationResult) -> None:
        claim = self._claims.get((namespace, name))
        if claim is None:
            return
        user = ResourceClaimConsumerReference(resource="pods", name=name, uid=uid)
        status = msgspec.structs.replace(
            claim.status, allocation=allocation, reserved_for=(*claim.status.reserved_for, user)
        )
        self._see(msgspec.structs.replace(claim, status=status))

    def _evict(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is None:
            return
        self.planner.lose(pod)
        own = [
            claim
            for name in self._claim_names(pod)
            if (claim := self._claims.get((pod.metadata.namespace, name))) is not None and _is_owned(claim, uid)
        ]
        for claim in own:
            del self._claims[claim.metadata.namespace, claim.metadata.name]
            self.planner.lose(claim)
        # What a controller owns comes again, once: enough to see where it would go.
        root = uid.partition("~")[0]
        if pod.metadata.controller is not None and self._returns[root] < _MOST_RETURNS:
            self._returns[root] += 1
            self._return(pod, own, f"{root}~{self._returns[root]}")

    def _claim_names(self, pod: Pod) -> Iterable[str]:
        made = (status.resource_claim_name for status in pod.status.resource_claim_statuses)
        return dict.fromkeys((*(use.resource_claim_name for use in pod.spec.resource_claims), *made))

    def _return(self, pod: Pod, claims: Iterable[ResourceClaim], uid: str) -> None:
        """The pod that the owner makes in place of one that had to leave."""
        for claim in claims:
            owners = [
                msgspec.structs.replace(owner, uid=uid) if owner.uid == pod.metadata.uid else owner
                for owner in claim.metadata.owner_references
            ]
            metadata = msgspec.structs.replace(
                claim.metadata, uid=uid_for("ResourceClaim", uid, claim.metadata.name), owner_references=tuple(owners)
            )
            free = msgspec.structs.replace(claim.status, allocation=None, reserved_for=())
            self._see(msgspec.structs.replace(claim, metadata=metadata, status=free))
        metadata = msgspec.structs.replace(pod.metadata, uid=uid, creation_timestamp=format_time(self.now_s))
        spec = msgspec.structs.replace(pod.spec, node_name="")
        status = msgspec.structs.replace(pod.status, phase="Pending", start_time=None, nominated_node_name="")
        self._see(msgspec.structs.replace(pod, metadata=metadata, spec=spec, status=status))


def merged(before: Placed | None, verdict: Placed) -> Placed:
    """All places of a gang that got them in several decisions."""
    if before is None:
        return verdict
    again = {each.pod.full_name for each in verdict.assignments}
    kept = [each for each in before.assignments if each.pod.full_name not in again]
    return replace(verdict, assignments=(*kept, *verdict.assignments))


def _is_owned(claim: ResourceClaim, uid: str) -> bool:
    return any(owner.uid == uid for owner in claim.metadata.owner_references)
