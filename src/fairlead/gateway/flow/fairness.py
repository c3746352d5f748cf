"""Whose turn it is among the tenants of a band. Pure.

Weighted tokens is start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996) with the
counters of a virtual token counter (Sheng et al.: "Fairness in Serving Large Language Models", OSDI 2024): each tenant
has a counter of the tokens it was sent, divided by its weight; the tenant with the smallest counter is next; one that
comes back after it had nothing waiting has its counter lifted to the band's virtual time, so that idle time is not
saved up. Between two tenants that wait without a break, sent tokens divided by weight never differ by more than the
largest request of the one and of the other, each divided by its weight.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from typing import Protocol

from fairlead.gateway.flow.settings import Fairness
from fairlead.gateway.flow.tenant import Tenant

_TIDY_MIN = 128
"""Heap entries below which outdated ones are left where they are."""


class Turns(Protocol):
    """Decides whose turn it is. Told of every tenant that begins or ceases to wait and of every request sent."""

    def joined(self, tenant: Tenant) -> None:
        """The tenant has a first request waiting."""
        ...

    def left(self, tenant: Tenant) -> None:
        """The tenant has nothing waiting any more, though nothing of it was sent."""
        ...

    def sent(self, tenant: Tenant, tokens: float) -> None:
        """The request of the tenant whose turn it was is sent; the tenant may have more."""
        ...

    def settled(self, tenant: Tenant, more_tokens: float) -> None:
        """A request of the tenant cost so much more (or less) than it was charged."""
        ...

    def next(self) -> Tenant:
        """Whose turn it is. Some tenant must be waiting."""
        ...

    def is_forgettable(self, tenant: Tenant) -> bool:
        """Whether a tenant with nothing waiting can be forgotten without a change of any turn."""
        ...

    def emptied(self) -> None:
        """No tenant waits any more."""
        ...


def turns_of(fairness: Fairness) -> Turns:
    return WeightedTokens() if fairness is Fairness.WEIGHTED_TOKENS else RoundRobin()


class WeightedTokens:
    """The tenant that got the fewest tokens for its weight; of equals the one that has been equal for longest."""

    __slots__ = ("_heap", "_latest", "_numbers", "_tidy_at", "_virtual")

    def __init__(self) -> None:
        self._virtual = 0.0
        self._latest = 0.0
        # Entries that are no tenant's latest are outdated, and dropped when they come up.
        self._heap: list[tuple[float, int, Tenant]] = []
        self._numbers = itertools.count(1)
        self._tidy_at = _TIDY_MIN

    def joined(self, tenant: Tenant) -> None:
        if tenant.served < self._virtual:
            tenant.served = self._virtual
        self._push(tenant)

    def left(self, tenant: Tenant) -> None:
        tenant.entry = 0

    def sent(self, tenant: Tenant, tokens: float) -> None:
        if tenant.served > self._virtual:
            self._virtual = tenant.served
        self._charge(tenant, tokens)

    def settled(self, tenant: Tenant, more_tokens: float) -> None:
        self._charge(tenant, more_tokens)

    def next(self) -> Tenant:
        heap = self._heap
        while True:
            _, number, tenant = heap[0]
            if tenant.entry == number:
                return tenant
            heapq.heappop(heap)

    def is_forgettable(self, tenant: Tenant) -> bool:
        return tenant.served <= self._virtual

    def emptied(self) -> None:
        # The end of a busy period: whoever comes next starts level.
        self._virtual = self._latest
        self._heap.clear()

    def _charge(self, tenant: Tenant, tokens: float) -> None:
        tenant.served += tokens / tenant.weight
        if tenant.served > self._latest:
            self._latest = tenant.served
        if tenant:
            self._push(tenant)
        else:
            tenant.entry = 0

    def _push(self, tenant: Tenant) -> None:
        tenant.entry = next(self._numbers)
        heapq.heappush(self._heap, (tenant.served, tenant.entry, tenant))
        if len(self._heap) >= self._tidy_at:
            self._heap = [entry for entry in self._heap if entry[2].entry == entry[1]]
            heapq.heapify(self._heap)
            self._tidy_at = max(_TIDY_MIN, 2 * len(self._heap))


class RoundRobin:
    """One request of each tenant in turn, in the order in which they began to wait."""

    __slots__ = ("_ring",)

    def __init__(self) -> None:
        self._ring: OrderedDict[str, Tenant] = OrderedDict()

    def joined(self, tenant: Tenant) -> None:
        self._ring[tenant.fairness_id] = tenant

    def left(self, tenant: Tenant) -> None:
        del self._ring[tenant.fairness_id]

    def sent(self, tenant: Tenant, tokens: float) -> None:
        if tenant:
            self._ring.move_to_end(tenant.fairness_id)
        else:
            del self._ring[tenant.fairness_id]

    def settled(self, tenant: Tenant, more_tokens: float) -> None:
        """Turns are counted in requests: what one cost does not matter."""

    def next(self) -> Tenant:
        return next(iter(self._ring.values()))

    def is_forgettable(self, tenant: Tenant) -> bool:
        return True

    def emptied(self) -> None:
        self._ring.clear()
