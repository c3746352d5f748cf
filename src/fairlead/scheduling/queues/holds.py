"""Room kept for gangs that have waited long, so that smaller ones behind them do not take it piece by piece.

A gang that was refused again and again for `hold_after_s` holds, the first such gang of each queue. What it wants is
then kept from the gangs behind it in its queue, and, as long as its queue stays within its fair share with it, from
gangs of other queues that would borrow: they are offered only where the room is large enough for both. What others may
count on is never held back. Room is counted in amounts, over the whole cluster and under the limits of the queues that
both are in: which nodes become free for the gang is for its placement to see to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.queues.amounts import of_resource
from fairlead.scheduling.queues.shares import Shares
from fairlead.scheduling.queues.standing import Standing, standing
from fairlead.scheduling.queues.tree import ROOT, QueueTree
from fairlead.scheduling.queues.usage import Holdings
from fairlead.scheduling.snapshot import Amounts


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A gang that waits, in its queue."""

    gang: Gang
    queue: str
    demand: Amounts
    """What it takes, all pods that need a node together."""

    @property
    def key(self) -> str:
        return self.gang.key

    @property
    def rank(self) -> tuple[int, float, str]:
        """Its place in its queue: by priority, then age, then name."""
        return -self.gang.priority, self.gang.created_s, self.gang.key


class Holds:
    """Which gangs hold, and whom they keep back.

    Whether a hold is within its queue's fair share is found out when a round begins and when holds change.
    """

    def __init__(
        self, tree: QueueTree, holdings: Holdings, shares: Shares, now_s: float, hold_after_s: float | None
    ) -> None:
        self._tree = tree
        self._holdings = holdings
        self._shares = shares
        self._now_s = now_s
        self._hold_after_s = hold_after_s
        self._refused: dict[str, tuple[float, Waiting]] = {}
        """Since when gangs were refused."""
        self._by_queue: dict[str, Waiting] = {}
        self._passed_up: dict[str, dict[str, int]] | None = {}
        """Per queue, what holds below it want that are within the shares of all queues up to it; None where unknown."""
        self._kept_among: dict[str, dict[str, int]] = {}
        """Per queue, what its children pass up together."""
        self._examples: dict[str, list[Waiting]] = {}
        """Per resource, the first two gangs that hold some against other queues."""

    @property
    def by_queue(self) -> Mapping[str, Waiting]:
        return self._by_queue

    def renew(self, shares: Shares, now_s: float) -> None:
        self._shares = shares
        self._now_s = now_s
        self._by_queue.clear()
        for _, waiting in list(self._refused.values()):
            self.refuse(waiting)
        self._passed_up = None

    def refuse(self, waiting: Waiting) -> None:
        """The gang did not fit; it holds once that has been so for long enough."""
        if self._hold_after_s is None:
            return
        known = self._refused.get(waiting.key)
        since_s = min(known[0], self._now_s) if known is not None else self._now_s  # a clock set back starts it anew
        self._refused[waiting.key] = since_s, waiting
        if self._now_s - since_s < self._hold_after_s:
            return
        first = self._by_queue.get(waiting.queue)
        if (first is None or waiting.rank < first.rank) and not self._is_hopeless(waiting):
            self._by_queue[waiting.queue] = waiting
            self._passed_up = None

    def release(self, waiting: Waiting) -> None:
        """The gang waits no more, or cannot be helped by room."""
        self._refused.pop(waiting.key, None)
        if self._by_queue.get(waiting.queue) is waiting:
            del self._by_queue[waiting.queue]
            self._passed_up = None

    def replace(self, old: Waiting, new: Waiting) -> None:
        """The gang waits on, with another demand or in another queue."""
        known = self._refused.get(old.key)
        self.release(old)
        if known is not None:
            self._refused[new.key] = known[0], new

    def against(self, waiting: Waiting) -> str:
        """Why the gang may not take what it wants now; "" if it may."""
        if not self._by_queue:
            return ""
        own = self._by_queue.get(waiting.queue)
        kept = dict(own.demand) if own is not None and own.rank < waiting.rank else {}
        passed_up = self._add_up()
        borrows = False
        below = ""
        for queue in (*self._tree.nodes[waiting.queue].path, ROOT):
            if below and borrows:
                for resource, amount in self._kept_among.get(queue, {}).items():
                    kept[resource] = kept.get(resource, 0) + amount - passed_up.get(below, {}).get(resource, 0)
            resource = self._short(queue, waiting.demand, kept)
            if resource:
                return self._sentence(resource, kept[resource], waiting)
            if queue != ROOT:
                borrows = borrows or self._borrows(queue, waiting.demand)
            below = queue
        return ""

    def _add_up(self) -> Mapping[str, Mapping[str, int]]:
        if self._passed_up is not None:
            return self._passed_up
        self._passed_up, self._kept_among, self._examples = {}, {}, {}
        for hold in sorted(self._by_queue.values(), key=lambda hold: hold.rank):
            for queue in self._tree.nodes[hold.queue].path:
                if self._borrows(queue, hold.demand):
                    break
                _add(self._passed_up.setdefault(queue, {}), hold.demand)
                _add(self._kept_among.setdefault(self._tree.nodes[queue].view.parent, {}), hold.demand)
                if queue == hold.queue:
                    self._note_example(hold)
        return self._passed_up

    def _note_example(self, hold: Waiting) -> None:
        for resource, amount in hold.demand.items():
            examples = self._examples.setdefault(resource, [])
            if amount and len(examples) < 2:
                examples.append(hold)

    def _short(self, queue: str, demand: Amounts, kept: Amounts) -> str:
        """The resource of which the queue has too little for both; "" if none."""
        view, held = self._tree.nodes[queue].view, self._holdings.of(queue)
        for resource, keep in kept.items():
            amount = demand.get(resource, 0)
            if not amount or keep <= 0:
                continue
            most = self._shares.capacity.get(resource, 0) if queue == ROOT else view.entitlement(resource).limit
            if most is not None and amount + keep > most - held.get(resource, 0):
                return resource
        return ""

    def _borrows(self, queue: str, demand: Amounts) -> bool:
        tree = self._tree
        quotas, share = tree.quotas[queue], self._shares.of(queue)
        return standing(self._holdings.of(queue), demand, quotas, share, tree.governed)[0] == Standing.BORROWS

    def _is_hopeless(self, waiting: Waiting) -> bool:
        """Whether the gang is larger than the cluster, or than its queues may ever be."""
        limits = [self._tree.nodes[name].view for name in self._tree.nodes[waiting.queue].path]
        for resource, amount in waiting.demand.items():
            if amount > self._shares.capacity.get(resource, 0):
                return True
            for view in limits:
                limit = view.entitlement(resource).limit
                if limit is not None and amount > limit:
                    return True
        return False

    def _sentence(self, resource: str, kept: int, waiting: Waiting) -> str:
        own = self._by_queue.get(waiting.queue)
        known = [own] if own is not None and own.demand.get(resource, 0) else []
        first = next(hold for hold in [*known, *self._examples.get(resource, ())] if hold is not waiting)
        return (
            f"{of_resource(resource, kept)} are kept for gangs that have waited long, such as {first.key} of queue "
            f"{first.queue}, and there is not enough for this one beside them"
        )


def _add(total: dict[str, int], amounts: Amounts) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + amount
