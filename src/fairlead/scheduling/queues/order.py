"""Which gang is next: queues compared level by level from the root, then gangs by priority and age.

Of two queues with the same parent, each with its best waiting gang, the first is the one

1. that stays within its quota with the gang, then one that stays within its fair share, then one that borrows;
2. of higher queue priority, unless both stay within their quotas;
3. that holds the smaller part of its fair share, in the resource of which it holds the largest part (dominant resource
   fairness, relative to fair shares); holding anything without a share comes last;
4. whose gang is older; then by name.

A gang that does not fit does not stand in the way of those behind it, unless the policy says so. So that large gangs
get their turn, those that have waited long hold what they want (`holds`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.queues.holds import Holds, Waiting
from fairlead.scheduling.queues.shares import Shares
from fairlead.scheduling.queues.standing import Standing, standing
from fairlead.scheduling.queues.tree import ROOT, QueueTree
from fairlead.scheduling.queues.usage import Holdings, Running
from fairlead.scheduling.snapshot import Amounts, add

_SHARELESS = 1e12
_Key = tuple[int, int, float, float, str]


@dataclass(frozen=True, slots=True)
class OrderPolicy:
    """How much order there is beyond the queues' shares."""

    hold_after_s: float | None = 600.0
    """A gang that was refused for this long holds what it wants; None for never."""
    is_strict: bool = False
    """Whether a refused gang always stands in the way of those behind it in its queue (first in, first out)."""


_Entry = tuple[int, float, str, int, Waiting]
"""The gang's place in its queue, and a number that no other entry has."""


@dataclass(slots=True, eq=False)
class _Place:
    """A queue in the backlog. `version` tells entries in the parent's heap that are out of date."""

    name: str
    priority: int
    parent: _Place | None
    is_leaf: bool
    version: int = 0
    best: list[tuple[_Key, int, _Place]] = field(default_factory=list)
    """Queues below it that have gangs to offer, as a heap."""
    ready: list[_Entry] = field(default_factory=list)
    """Its own gangs that may be offered, as a heap."""
    aside: list[_Entry] = field(default_factory=list)
    """Its own gangs that were passed over in this round."""
    blocked_by: str = ""
    """The gang behind which its others wait in this round."""
    pending: int = 0
    wanted: dict[str, int] = field(default_factory=dict)


class Backlog:
    """All waiting gangs, to be taken in order: `next`, then `placed` or `refused` for what it gave.

    One round offers each gang at most once; `renew` begins another with new shares. Placing, adding or removing a gang
    moves only the queues on its way to the root. `holdings` is shared: `placed` enters the gang there; who changes it
    otherwise calls `touch`.
    """

    def __init__(
        self,
        tree: QueueTree,
        holdings: Holdings,
        shares: Shares,
        now_s: float,
        policy: OrderPolicy = OrderPolicy(),
    ) -> None:
        self._tree = tree
        self._holdings = holdings
        self._shares = shares
        self._policy = policy
        self._places: dict[str, _Place] = {}
        for name, node in tree.nodes.items():
            parent = self._places[node.view.parent] if name != ROOT else None
            self._places[name] = _Place(name, node.view.priority, parent, name != ROOT and not node.children)
        self._waiting: dict[str, Waiting] = {}
        self._holds = Holds(tree, holdings, shares, now_s, policy.hold_after_s)
        self._entries = 0
        self._offered: set[str] = set()
        """Gangs that had their turn in this round."""
        self._reasons: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    @property
    def holds(self) -> Mapping[str, Waiting]:
        """Queue -> the gang for which room is kept."""
        return self._holds.by_queue

    def pending(self, queue: str) -> int:
        """How many of the queue's own gangs wait."""
        return self._places[queue].pending

    def wanted(self, queue: str) -> Amounts:
        """What the queue's own waiting gangs want together."""
        return self._places[queue].wanted

    def requested(self) -> dict[str, Amounts]:
        """What each queue's own gangs hold and wait for, as `fair_shares` takes it."""
        requested: dict[str, Amounts] = {}
        for name, node in self._tree.nodes.items():
            held = dict(self._holdings.of(name)) if name != ROOT else {}
            for child in node.children if held else ():
                for resource, amount in self._holdings.of(child).items():
                    held[resource] -= amount
            requested[name] = add(held, self._places[name].wanted)
        return requested

    def add(self, gang: Gang, queue: str, demand: Amounts) -> None:
        """The gang waits in this leaf; known ones are replaced. Raises ValueError for a queue that takes no gangs."""
        place = self._places.get(queue)
        if place is None or not place.is_leaf:
            raise ValueError(f"{gang.key} cannot wait in queue {queue!r}: it is not a leaf of the tree")
        waiting = Waiting(gang, queue, demand)
        old = self._waiting.get(gang.key)
        if old is not None:
            self._holds.replace(old, waiting)
            self._refresh(self._forget(old))
        self._waiting[gang.key] = waiting
        place.pending += 1
        _count(place.wanted, demand, 1)
        self._entries += 1
        heapq.heappush(place.ready, (*waiting.rank, self._entries, waiting))
        self._refresh(place)

    def remove(self, key: str) -> None:
        """The gang waits no more; nothing where it did not."""
        waiting = self._waiting.get(key)
        if waiting is not None:
            self._holds.release(waiting)
            self._refresh(self._forget(waiting))

    def next(self) -> Waiting | None:
        """The gang whose turn it is; None when every gang was offered or stands behind another in this round."""
        while True:
            waiting = self._head(self._places[ROOT])
            if waiting is None:
                return None
            place = self._places[waiting.queue]
            place.aside.append(heapq.heappop(place.ready))
            self._offered.add(waiting.key)
            reason = self._holds.against(waiting)
            self._refresh(place)
            if not reason:
                self._reasons.pop(waiting.key, None)
                return waiting
            self._reasons[waiting.key] = reason

    def placed(self, key: str, demand: Amounts | None = None) -> None:
        """The gang has its nodes and holds `demand` (what it was added with, if None) beside what it held before.

        Raises KeyError for a gang that does not wait.
        """
        waiting = self._waiting[key]
        self._holds.release(waiting)
        place = self._forget(waiting)
        gang = waiting.gang
        taken = waiting.demand if demand is None else demand
        before = self._holdings.get(key)
        if before is not None:
            taken = add(before.demand, taken)
        started_s = before.started_s if before is not None else None
        self._holdings.put(
            Running(key, place.name, taken, gang.priority, gang.created_s, gang.is_preemptible, started_s)
        )
        self._refresh(place)

    def refused(self, key: str, can_wait: bool = True) -> None:
        """The gang was not placed in this round. Raises KeyError for a gang that does not wait.

        `can_wait` is False where room would not help (its claims are in error, it is larger than the cluster): such a
        gang never stands in the way of others.
        """
        waiting = self._waiting[key]
        place = self._places[waiting.queue]
        if not can_wait:
            self._holds.release(waiting)
            return
        self._holds.refuse(waiting)
        if self._policy.is_strict and not place.blocked_by:
            place.blocked_by = key
            self._refresh(place)

    def touch(self, queue: str) -> None:
        """What the queue holds has changed in `holdings`."""
        if queue in self._places:
            self._refresh(self._places[queue])

    def renew(self, shares: Shares, now_s: float) -> None:
        """Begin another round: every gang may be offered again. Holds stay while they are justified."""
        self._shares = shares
        self._holds.renew(shares, now_s)
        self._reasons.clear()
        self._offered.clear()
        for place in reversed(list(self._places.values())):
            if place.aside:
                again = [entry for entry in place.aside if self._waiting.get(entry[2]) is entry[-1]]
                place.ready = again + place.ready
                heapq.heapify(place.ready)
                place.aside = []
            place.blocked_by = ""
            place.version += 1
            place.best.clear()
        for place in reversed(list(self._places.values())):
            self._enter(place)

    def reason(self, key: str) -> str:
        """Why a gang that waits was not offered in this round; "" where it was, or may be yet."""
        waiting = self._waiting.get(key)
        if waiting is None:
            return ""
        ahead = self._places[waiting.queue].blocked_by
        if ahead and key not in self._offered:
            return f"it waits behind {ahead}, which goes first in queue {waiting.queue}"
        return self._reasons.get(key, "")

    def _forget(self, waiting: Waiting) -> _Place:
        key, place = waiting.key, self._places[waiting.queue]
        del self._waiting[key]
        self._reasons.pop(key, None)
        self._offered.discard(key)
        place.pending -= 1
        _count(place.wanted, waiting.demand, -1)
        if place.blocked_by == key:
            place.blocked_by = ""
        return place

    def _head(self, place: _Place) -> Waiting | None:
        """The best gang of a queue and those below it that may be offered."""
        while not place.is_leaf:
            below = self._best(place)
            if below is None:
                return None
            place = below
        if place.blocked_by:
            return None
        while place.ready:
            entry = place.ready[0]
            if self._waiting.get(entry[2]) is entry[-1]:
                return entry[-1]
            heapq.heappop(place.ready)
        return None

    def _best(self, place: _Place) -> _Place | None:
        best = place.best
        while best:
            _, version, below = best[0]
            if version == below.version:
                return below
            heapq.heappop(best)
        return None

    def _refresh(self, place: _Place) -> None:
        """Put a queue, and those above it, where they belong now."""
        at: _Place | None = place
        while at is not None:
            at.version += 1
            self._enter(at)
            at = at.parent

    def _enter(self, place: _Place) -> None:
        parent = place.parent
        if parent is None:
            return
        head = self._head(place)
        if head is None:
            return
        if len(parent.best) > 64 + 4 * len(self._tree.nodes[parent.name].children):
            parent.best = [entry for entry in parent.best if entry[1] == entry[2].version]
            heapq.heapify(parent.best)
        heapq.heappush(parent.best, (self._key(place, head), place.version, place))

    def _key(self, place: _Place, head: Waiting) -> _Key:
        band = self._band(place.name, head.demand)
        priority = -place.priority if band else 0
        return band, priority, self._saturation(place.name), head.gang.created_s, place.name

    def _saturation(self, queue: str) -> float:
        """The largest part of its fair share that a queue holds, over all resources."""
        share, capacity = self._shares.of(queue), self._shares.capacity
        worst = 0.0
        for resource, amount in self._holdings.of(queue).items():
            total = capacity.get(resource, 0)
            if amount <= 0 or total <= 0:
                continue
            fair = share.get(resource, 0)
            part = amount / fair if fair else _SHARELESS * amount / total
            if part > worst:
                worst = part
        return worst

    def _band(self, queue: str, demand: Amounts) -> Standing:
        """Where a queue would stand with `demand` more."""
        quotas, share = self._tree.quotas[queue], self._shares.of(queue)
        return standing(self._holdings.of(queue), demand, quotas, share, self._tree.governed)[0]


def demand_of(gang: Gang) -> dict[str, int]:
    """What a gang takes in quotas, all its pods that need a node together."""
    total: dict[str, int] = {}
    for pod in gang.pods:
        _count(total, pod.shape.demand, 1)
    return total


def _count(total: dict[str, int], amounts: Amounts, sign: int) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + sign * amount
