"""Watches over the pods that run: what they lose is noticed at once, and their gang is placed anew (`recovery.py`)."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.objects import Node, Pod, ResourceClaim
from fairlead.kube.objects.devices import DeviceTaintRule, ResourceSlice
from fairlead.scheduling.allocations import results_of
from fairlead.scheduling.commit.evictor import Leaving
from fairlead.scheduling.commit.order import stands
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.losses import Loss, PoolKey, Pools, device_losses, node_losses
from fairlead.scheduling.recovery import Members, Recovery, is_partial, recover
from fairlead.scheduling.roster import Identity

PARTIAL_S: Final = 30.0
"""How long part of a gang may hold its places while the rest finds none."""

DISRUPTED: Final = "GangRecovery"
"""Reason of the condition DisruptionTarget on members that leave because of others."""


class Membership(Protocol):
    """Who belongs together, as `Roster`."""

    def gang(self, identity: Identity) -> Gang | None: ...
    def identity_of(self, uid: str) -> Identity | None: ...


@dataclass(frozen=True, slots=True)
class Followed:
    """Informers that are watched for losses."""

    pods: Informer[Pod]
    claims: Informer[ResourceClaim]
    slices: Informer[ResourceSlice]
    nodes: Informer[Node]


class Repairs:
    """What has been lost, and what is done about it. `step` decides; handlers only note what to look at."""

    def __init__(
        self,
        followed: Followed,
        membership: Membership,
        evict: Callable[[list[Leaving]], None],
        wake: Callable[[], None],
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        """`wake` is called when there is something for `step`."""
        self._pods = followed.pods.store
        self._claims = followed.claims.store
        self._nodes = followed.nodes.store
        self._rules: Iterable[DeviceTaintRule] = ()
        self._membership = membership
        self._evict = evict
        self._wake = wake
        self._clock = clock
        self._pools = Pools()
        self._suspects: set[str] = set()  # uids of pods to look at
        self._bound: set[Identity] = set()  # gangs with newly bound pods
        self._absent: dict[Identity, str] = {}  # gangs that have lost a pod -> how
        self._whole: set[Identity] = set()  # gangs that have had their minimum
        self._ended: set[Identity] = set()  # gangs with a pod that has done its work
        self._left: set[Identity] = set()  # gangs with a pod that is gone
        self._begun_s: dict[str, dict[str, float]] = {}  # uid -> loss -> monotonic time at which it began
        self._due: list[tuple[float, int, str]] = []
        self._sequence = itertools.count()
        self._partial_since_s: dict[Identity, float] = {}
        self._pods.add_index("node", _node_of)
        self._pods.add_index("uid", _uid_of)
        self._claims.add_index("consumer", _consumers_of)
        self._claims.add_index("pool", _pools_of)
        followed.slices.add_handler(Handler(self._slice, lambda _, new: self._slice(new), self._slice_gone))
        followed.nodes.add_handler(Handler(None, self._node, lambda node: self._suspect_node(node.metadata.name)))
        followed.claims.add_handler(Handler(None, self._claim, None))

    def follow_rules(self, rules: Informer[DeviceTaintRule]) -> None:
        """Taints of DeviceTaintRules count from now on."""
        self._rules = rules.store
        rules.add_handler(Handler[Any].every(lambda _: self._suspect_all()))

    # What happened

    def pod_ending(self, old: Pod | None, new: Pod) -> None:
        """A pod is different: it may have failed or be about to go. To be called before the membership learns of it."""
        identity = self._membership.identity_of(new.metadata.uid)
        if identity is None or not new.spec.node_name:
            return
        if new.status.phase == "Succeeded":
            self._ended.add(identity)
        elif new.status.phase == "Failed" and (old is None or old.status.phase != "Failed"):
            self._lost_member(identity, new, "has failed")
        elif new.metadata.is_deleting and (old is None or not old.metadata.is_deleting):
            self._lost_member(identity, new, "was deleted")

    def pod_bound(self, old: Pod | None, new: Pod) -> None:
        """A pod is different: it may have got a node. To be called after the membership has learnt of it."""
        if not new.spec.node_name or (old is not None and old.spec.node_name):
            return
        self._suspect(new.metadata.uid)
        identity = self._membership.identity_of(new.metadata.uid)
        if identity is not None:
            self._bound.add(identity)

    def pod_gone(self, pod: Pod) -> None:
        """To be called before the membership forgets it."""
        identity = self._membership.identity_of(pod.metadata.uid)
        self._begun_s.pop(pod.metadata.uid, None)
        if identity is not None and identity[0] != "Pod":
            self._left.add(identity)
        if identity is not None and pod.status.phase not in ("Succeeded", "Failed") and not pod.metadata.is_deleting:
            self._lost_member(identity, pod, "was deleted")

    def refused(self, gang: Gang, is_final: bool) -> None:
        """Part of a gang has no place. `is_final`: for want of room, not because it waits for something."""
        identity = (gang.kind, gang.namespace, gang.name)
        if is_final and gang.recovery == "gang" and is_partial(gang, self._members(gang)):
            since_s = self._partial_since_s.setdefault(identity, self._clock.monotonic_s())
            self._at(since_s + PARTIAL_S, "")
        else:
            self._partial_since_s.pop(identity, None)

    def step(self) -> None:
        """Decide about all that was noted."""
        now_s = self._clock.monotonic_s()
        while self._due and self._due[0][0] <= now_s:
            self._suspects.add(heapq.heappop(self._due)[2])
        self._forget_gone()
        self._note_whole()
        recoveries = [*self._recover_hit(now_s), *self._recover_absent(), *self._dissolve_partial(now_s)]
        for recovery in recoveries:
            self._evict([_leaving(pod.uid in recovery.hit, pod, recovery) for pod in recovery.evict])

    def next_s(self) -> float | None:
        """Monotonic time at which `step` has to be called again; None where nothing is due."""
        return self._due[0][0] if self._due else None

    # Decisions

    def _forget_gone(self) -> None:
        """What is known of a gang is not true of another one that has its name later."""
        for identity in self._left:
            if self._membership.gang(identity) is None:
                for known in (self._whole, self._ended):
                    known.discard(identity)
                self._absent.pop(identity, None)
                self._partial_since_s.pop(identity, None)
        self._left.clear()

    def _note_whole(self) -> None:
        for identity in self._bound:
            gang = self._membership.gang(identity)
            if gang is None or gang.is_single:
                continue
            if stands(gang.root, {pod.uid for pod in gang.bound}):
                self._whole.add(identity)
                self._partial_since_s.pop(identity, None)
        self._bound.clear()

    def _recover_hit(self, now_s: float) -> list[Recovery]:
        lost: dict[Identity, dict[str, Loss]] = {}
        suspects, self._suspects = self._suspects, set()
        for uid in suspects:
            identity = self._membership.identity_of(uid)
            if identity is None:
                continue
            loss = self._loss(uid, identity[0] == "Pod", now_s)
            if loss is not None:
                lost.setdefault(identity, {})[uid] = loss
        return [
            recovery
            for identity, hit in lost.items()
            if (gang := self._membership.gang(identity)) is not None
            and (recovery := recover(gang, hit, self._members(gang))) is not None
        ]

    def _loss(self, uid: str, is_single: bool, now_s: float) -> Loss | None:
        """What a pod has lost for good by now. What is not due yet is looked at again then."""
        pod = self._pod(uid)
        if pod is None or not pod.spec.node_name or pod.metadata.is_deleting or _has_ended(pod):
            return None
        losses = []
        for claim in self._claims.by_index("consumer", uid):
            losses += device_losses(claim, self._pools, self._rules)
        if not is_single:
            # Pods that stand alone are left to the cluster's own eviction from nodes.
            losses += node_losses(pod, self._nodes.get(pod.spec.node_name))
        for loss in losses:
            due_s = self._begin_s(uid, loss, now_s) + loss.stays_s
            if due_s <= now_s:
                return loss
            self._at(due_s, uid)
        if not losses:
            self._begun_s.pop(uid, None)
        return None

    def _recover_absent(self) -> list[Recovery]:
        absent, self._absent = self._absent, {}
        found = []
        for identity, how in absent.items():
            gang = self._membership.gang(identity)
            if gang is None:
                self._whole.discard(identity)
                self._ended.discard(identity)
                continue
            if identity in self._whole and identity not in self._ended and is_partial(gang, self._members(gang)):
                recovery = recover(gang, {}, self._members(gang), how)
                if recovery is not None:
                    self._whole.discard(identity)
                    found.append(recovery)
        return found

    def _dissolve_partial(self, now_s: float) -> list[Recovery]:
        found = []
        for identity, since_s in list(self._partial_since_s.items()):
            if now_s < since_s + PARTIAL_S:
                continue
            del self._partial_since_s[identity]
            gang = self._membership.gang(identity)
            if gang is not None and is_partial(gang, self._members(gang)):
                how = f"the rest of the gang found no place within {PARTIAL_S:g} s"
                recovery = recover(gang, {}, self._members(gang), how)
                if recovery is not None:
                    found.append(recovery)
        return found

    def _begin_s(self, uid: str, loss: Loss, now_s: float) -> float:
        """When a loss began, on the monotonic clock; the wall clock is asked only once."""
        begun_s = self._begun_s.setdefault(uid, {})
        if loss.what not in begun_s:
            age_s = 0.0 if loss.since_s is None else self._clock.wall_s() - loss.since_s
            begun_s[loss.what] = now_s - min(max(age_s, 0.0), loss.stays_s)
        return begun_s[loss.what]

    def _members(self, gang: Gang) -> Members:
        bare: set[str] = set()
        failed: set[str] = set()
        succeeded: set[str] = set()
        for view in gang.bound:
            pod = self._pods.get(view.name, view.namespace)
            if pod is None or pod.metadata.uid != view.uid:
                failed.add(view.uid)
                continue
            if pod.metadata.controller is None:
                bare.add(view.uid)
            if _has_ended(pod):
                (failed if pod.status.phase == "Failed" else succeeded).add(view.uid)
        return Members(bare, failed, succeeded)

    def _pod(self, uid: str) -> Pod | None:
        found = self._pods.by_index("uid", uid)
        return found[0] if found else None

    # Notes

    def _lost_member(self, identity: Identity, pod: Pod, how: str) -> None:
        if pod.spec.node_name and identity[0] != "Pod":
            self._absent[identity] = f"pod {pod.metadata.namespace}/{pod.metadata.name} {how}"
            self._wake()

    def _slice(self, slice_: ResourceSlice) -> None:
        self._suspect_pool(self._pools.set(slice_))

    def _slice_gone(self, slice_: ResourceSlice) -> None:
        self._suspect_pool(self._pools.remove(slice_))

    def _claim(self, old: ResourceClaim, new: ResourceClaim) -> None:
        if len(new.status.reserved_for) <= len(old.status.reserved_for):
            return
        if device_losses(new, self._pools, self._rules):
            for consumer in new.status.reserved_for:
                self._suspect(consumer.uid)

    def _node(self, old: Node, new: Node) -> None:
        if old.spec.taints != new.spec.taints:
            self._suspect_node(new.metadata.name)

    def _suspect_node(self, name: str) -> None:
        for pod in self._pods.by_index("node", name):
            self._suspect(pod.metadata.uid)

    def _suspect_pool(self, pool: PoolKey) -> None:
        for claim in self._claims.by_index("pool", "/".join(pool)):
            for consumer in claim.status.reserved_for:
                self._suspect(consumer.uid)

    def _suspect_all(self) -> None:
        for uid in self._claims.index_values("consumer"):
            self._suspect(uid)

    def _suspect(self, uid: str) -> None:
        self._suspects.add(uid)
        self._wake()

    def _at(self, due_s: float, uid: str) -> None:
        heapq.heappush(self._due, (due_s, next(self._sequence), uid))


def _leaving(is_hit: bool, pod: Any, recovery: Recovery) -> Leaving:
    reason = "DeletionByDeviceTaintManager" if is_hit and recovery.reason == "DeviceTainted" else DISRUPTED
    return Leaving(pod, reason, recovery.reason, recovery.sentence)


def _has_ended(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def _node_of(pod: Pod) -> tuple[str, ...]:
    return (pod.spec.node_name,) if pod.spec.node_name else ()


def _consumers_of(claim: ResourceClaim) -> list[str]:
    return [consumer.uid for consumer in claim.status.reserved_for if consumer.resource == "pods"]


def _pools_of(claim: ResourceClaim) -> list[str]:
    return list({f"{result.driver}/{result.pool}" for result in results_of(claim.status.allocation)})


def _uid_of(pod: Pod) -> tuple[str, ...]:
    return (pod.metadata.uid,)
