"""All that waits at one priority: the tenants' queues, whose turn it is, and who has to give way when it is full. Pure.

Who takes the most room for its weight gives way first, with what came last: a tenant that floods a band loses its own
requests, not those of others.
"""

from __future__ import annotations

import heapq
import itertools

from fairlead.gateway.flow.fairness import Turns, turns_of
from fairlead.gateway.flow.item import Item
from fairlead.gateway.flow.settings import Fairness, FlowSettings, Order
from fairlead.gateway.flow.tenant import Tenant

_IDLE_TENANTS = 256
"""Tenants with nothing waiting that are remembered before it is looked which of them matter."""
_HEAVIEST_MIN = 1_024
"""Entries of the heaviest below which outdated ones are left where they are."""
MAX_IDLE_TENANTS = 10_000
"""Tenants with nothing waiting that are remembered at most; those that were sent the least are forgotten first."""
_NEVER_S = float("inf")


class Band:
    """Requests of one priority."""

    __slots__ = (
        "_heaviest", "_heaviest_tidy_at", "_idle_limit", "_numbers", "_order", "_strict", "_tenants", "_turns",
        "_waiting", "_weights", "ceiling", "limits", "priority", "requests", "size_bytes", "used_s",
    )  # fmt: skip

    def __init__(self, priority: int, settings: FlowSettings) -> None:
        self.priority = priority
        self.limits = settings.limits_of(priority)
        self.ceiling = 1.0
        """Saturation from which on its requests wait."""
        self.requests = 0
        self.size_bytes = 0
        self.used_s = 0.0
        """When it last had a request."""
        self._order = settings.order_of(priority)
        fairness = settings.fairness_of(priority)
        self._strict = fairness is Fairness.GLOBAL_STRICT
        self._weights = settings.weights
        self._turns: Turns = turns_of(fairness)
        # fairness id -> its queue, empty ones included whose counter still matters.
        self._tenants: dict[str, Tenant] = {}
        self._waiting = 0
        self._idle_limit = _IDLE_TENANTS
        # (-share, number, tenant) with outdated entries among them.
        self._heaviest: list[tuple[float, int, Tenant]] = []
        self._heaviest_tidy_at = _HEAVIEST_MIN
        self._numbers = itertools.count(1)

    @property
    def waiting_tenants(self) -> int:
        return self._waiting

    def tenant_of(self, fairness_id: str) -> Tenant | None:
        return self._tenants.get("" if self._strict else fairness_id)

    def add(self, item: Item, patience_end_s: float) -> None:
        """`patience_end_s` is the deadline of a request that has no other."""
        name = "" if self._strict else item.fairness_id
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = Tenant(name, self._weights.get(name, 1.0))
        is_first = not tenant
        tenant.add(item, self._key(item, patience_end_s))
        self.requests += 1
        self.size_bytes += item.size_bytes
        if is_first:
            self._waiting += 1
            self._turns.joined(tenant)
        self._weigh(tenant)

    def pop(self, now_s: float) -> Item:
        """Take the request whose turn it is and charge its tenant. The band must not be empty."""
        tenant = self._turns.next()
        item = tenant.pop(now_s if self._order is Order.EDF_ATTAINABLE else None)
        self._turns.sent(tenant, item.tokens)
        self._took(tenant, item)
        return item

    def remove(self, item: Item) -> None:
        """The request leaves without having been sent."""
        tenant = self._tenants["" if self._strict else item.fairness_id]
        tenant.remove(item)
        self._dropped(tenant, item)

    def pop_youngest_of(self, tenant: Tenant) -> Item:
        item = tenant.pop_youngest()
        self._dropped(tenant, item)
        return item

    def settle(self, fairness_id: str, more_tokens: float) -> None:
        """A request that was sent cost so much more, or less when negative, than it was charged."""
        tenant = self.tenant_of(fairness_id)
        if tenant is not None:
            self._turns.settled(tenant, more_tokens)

    def heaviest(self) -> Tenant:
        """The tenant that takes the most room for its weight, of equals the one that has for longest. The band must not
        be empty."""
        heap = self._heaviest
        while True:
            _, number, tenant = heap[0]
            if tenant.weighed == number:
                return tenant
            heapq.heappop(heap)

    def share(self, tenant: Tenant | None, item: Item | None = None) -> float:
        """The part of the band's room that a tenant takes for its weight, with `item` in addition.

        The larger part of the two resources counts, as in dominant resource fairness.
        """
        requests, size_bytes, weight = 0, 0, 1.0
        if tenant is not None:
            requests, size_bytes, weight = tenant.requests, tenant.size_bytes, tenant.weight
        if item is not None:
            requests, size_bytes = requests + 1, size_bytes + item.size_bytes
            if tenant is None:
                weight = self._weights.get(item.fairness_id, 1.0)
        limits = self.limits
        return max(requests / (limits.requests or 1), size_bytes / (limits.size_bytes or 1)) / weight

    def _key(self, item: Item, patience_end_s: float) -> float:
        if self._order is Order.FCFS:
            return 0.0
        if item.deadline_s is not None:
            return item.deadline_s
        return _NEVER_S if self._order is Order.SLO_DEADLINE else patience_end_s

    def _dropped(self, tenant: Tenant, item: Item) -> None:
        if not tenant:
            self._turns.left(tenant)
        self._took(tenant, item)

    def _took(self, tenant: Tenant, item: Item) -> None:
        self.requests -= 1
        self.size_bytes -= item.size_bytes
        if tenant:
            self._weigh(tenant)
            return
        self._waiting -= 1
        tenant.weighed = 0
        if not self.requests:
            self._turns.emptied()
            self._tenants.clear()
            self._heaviest.clear()
        elif self._turns.is_forgettable(tenant):
            del self._tenants[tenant.fairness_id]
        elif len(self._tenants) - self._waiting > self._idle_limit:
            self._forget_idle()

    def _weigh(self, tenant: Tenant) -> None:
        heap = self._heaviest
        tenant.weighed = next(self._numbers)
        heapq.heappush(heap, (-self.share(tenant), tenant.weighed, tenant))
        if len(heap) >= self._heaviest_tidy_at:
            self._heaviest = [entry for entry in heap if entry[2].weighed == entry[1]]
            heapq.heapify(self._heaviest)
            self._heaviest_tidy_at = max(_HEAVIEST_MIN, 2 * len(self._heaviest))

    def _forget_idle(self) -> None:
        for tenant in [t for t in self._tenants.values() if not t and self._turns.is_forgettable(t)]:
            del self._tenants[tenant.fairness_id]
        idle = sorted([t for t in self._tenants.values() if not t], key=lambda t: t.served)
        if len(idle) >= MAX_IDLE_TENANTS:
            for tenant in idle[: -MAX_IDLE_TENANTS // 2]:
                del self._tenants[tenant.fairness_id]
            idle = idle[-MAX_IDLE_TENANTS // 2 :]
        self._idle_limit = min(max(_IDLE_TENANTS, 2 * len(idle)), MAX_IDLE_TENANTS)
