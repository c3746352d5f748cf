"""Whose turn it is: every gang in its queue, what queues hold, and what they may do to each other.

The rules are those of `queues`; here is their state for one planner. Shares are reckoned at the start of a round, in
which each waiting gang is offered once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.scheduling.eviction.queue_rights import QueueRights
from fairlead.scheduling.eviction.queue_rights import demand_of as demand_of_pods
from fairlead.scheduling.eviction.rights import BackfillRights
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.queues.holds import Waiting
from fairlead.scheduling.queues.order import Backlog, OrderPolicy
from fairlead.scheduling.queues.read import read_queue
from fairlead.scheduling.queues.rights import Rights
from fairlead.scheduling.queues.shares import Shares, fair_shares
from fairlead.scheduling.queues.tree import Membership, QueueTree, QueueView
from fairlead.scheduling.queues.usage import DecayedUsage, Holdings, Running
from fairlead.scheduling.snapshot import Amounts, PodView

_NO_SHARES: Final = Shares({}, {}, {})
_SHARES_LAST_S: Final = 1.0
"""New demand begins another round after this long, as it changes the shares."""


@dataclass(frozen=True, slots=True)
class Place:
    """A gang in its queue."""

    gang: Gang
    membership: Membership


class Turns:
    """All gangs that hold something or wait for it."""

    def __init__(self, policy: OrderPolicy = OrderPolicy()) -> None:  # noqa: B008 (frozen)
        self.policy = policy
        self.faults: Mapping[str, str] = {}
        """Queue -> why its object cannot be read."""
        self.tree = QueueTree()
        self.holdings = Holdings(self.tree)
        self.shares = _NO_SHARES
        self.usage: DecayedUsage | None = None
        self.places: dict[str, Place] = {}
        """By the gang's key."""
        self._capacity: Amounts = {}
        self._counted: frozenset[str] = frozenset()
        self.has_queues = False
        """Whether there are Queue objects: without, shares need not be reckoned."""
        self._shares_s = 0.0
        self._promised: dict[str, tuple[Gang, tuple[PodView, ...]]] = {}
        self._backlog = Backlog(self.tree, self.holdings, self.shares, 0.0, policy)
        self._rules = Rights(self.tree, self.shares, self.holdings)

    @property
    def rules(self) -> Rights:
        return self._rules

    @property
    def backlog(self) -> Backlog:
        return self._backlog

    def eviction_rights(self) -> BackfillRights:
        """What gangs may do to each other, for `find_room`."""
        return BackfillRights(QueueRights(self._rules, self.holdings, self.queue_of))

    def queue_of(self, gang: Gang) -> str:
        """The leaf in which a gang counts."""
        place = self.places.get(gang.key)
        return place.membership.queue if place else self.tree.belongs(gang.queue, gang.namespace).queue

    def set_queues(self, objects: Mapping[str, Mapping[str, Any]], now_s: float) -> None:
        """These are all Queue objects, by name. What the cluster has of what they speak of is to be told next."""
        views: list[QueueView] = []
        faults: dict[str, str] = {}
        for name, obj in objects.items():
            try:
                views.append(read_queue(name, obj.get("spec") or {}))
            except ValueError as error:
                faults[name] = str(error)
        self.faults = faults
        self.tree = QueueTree(views)
        self.has_queues = bool(objects)
        self._counted = frozenset(self.resources())
        self.holdings = Holdings(self.tree)
        if self.has_queues and self.usage is None:
            self.usage = DecayedUsage(now_s)
        self._backlog = Backlog(self.tree, self.holdings, self.shares, now_s, self.policy)
        places, self.places = self.places, {}
        for place in places.values():
            self.put(place.gang)
        for gang, pods in self._promised.values():
            self.holdings.promise(gang.key, self.queue_of(gang), self.demand(pods))
        self._rules = Rights(self.tree, self.shares, self.holdings)

    def resources(self) -> set[str]:
        """The resources that queues speak of."""
        return {name for node in self.tree.nodes.values() for name in node.view.resources}

    def demand(self, pods: Sequence[PodView]) -> Amounts:
        """What pods take of the resources that queues speak of."""
        if not self.has_queues:
            return {}
        return {name: amount for name, amount in demand_of_pods(pods).items() if name in self._counted}

    def set_capacity(self, capacity: Amounts) -> None:
        """What the cluster has of each resource, device classes of queues included. Counts from the next round on."""
        self._capacity = capacity

    def put(self, gang: Gang) -> str:
        """A gang as it is now. Returns why it cannot be offered though it has pods without a node; "" if it is."""
        membership = self.tree.belongs(gang.queue, gang.namespace)
        self.places[gang.key] = Place(gang, membership)
        bound = gang.bound
        held = self.holdings.get(gang.key)
        if bound:
            started_s = min((pod.started_s for pod in bound if pod.started_s is not None), default=None)
            running = Running(
                gang.key,
                membership.queue,
                self.demand(bound),
                gang.priority,
                gang.created_s,
                gang.is_preemptible,
                started_s,
            )
            if running != held:
                self.holdings.put(running)
                self._backlog.touch(membership.queue)
        elif held is not None:
            self.holdings.drop(gang.key)
            self._backlog.touch(held.queue)
        if not gang.pods:
            self._backlog.remove(gang.key)
            return ""
        why_not = gang.waits_for or membership.waits_for
        if why_not:
            self._backlog.remove(gang.key)
            return why_not
        self._backlog.add(gang, membership.queue, self.demand(gang.pods))
        return ""

    def promise(self, gang: Gang, pods: Sequence[PodView]) -> None:
        """Room is being made for these pods of a gang."""
        self._promised[gang.key] = gang, tuple(pods)
        self.holdings.promise(gang.key, self.queue_of(gang), self.demand(pods))

    def withdraw(self, key: str) -> None:
        """No more room is being made for a gang."""
        self._promised.pop(key, None)
        self.holdings.withdraw(key)

    def drop(self, key: str) -> None:
        """A gang is no more."""
        if self.places.pop(key, None) is None:
            return
        self._backlog.remove(key)
        held = self.holdings.drop(key)
        if held is not None:
            self._backlog.touch(held.queue)

    def next(self) -> Waiting | None:
        """The gang whose turn it is; None when every one was offered in this round."""
        return self._backlog.next()

    def is_stale(self, now_s: float) -> bool:
        """Whether shares were reckoned so long ago that new demand deserves another round."""
        return self.has_queues and not 0 <= now_s - self._shares_s < _SHARES_LAST_S

    def renew(self, now_s: float) -> None:
        """Another round: something has happened that may let refused gangs fit."""
        self._reckon(now_s)
        self._backlog.renew(self.shares, now_s)

    def _reckon(self, now_s: float) -> None:
        self._shares_s = now_s
        if self.has_queues:
            usage = None
            if self.usage is not None:
                self.usage.advance(self.tree, self.holdings, self._capacity, now_s)
                usage = self.usage.values
            self.shares = fair_shares(self.tree, self._capacity, self._backlog.requested(), usage)
        else:
            self.shares = _NO_SHARES
        self._rules = Rights(self.tree, self.shares, self.holdings)
