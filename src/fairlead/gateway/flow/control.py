"""Flow control of one pool: which request goes to the engines now, which waits, and which is refused. Pure.

Higher priorities go strictly first. Within a priority the tenants share by weight, and each tenant's requests go in the
order set. What waits is bounded in number, bytes and time; when there is no room, an important newcomer takes the place
of the least important request, and within a priority a tenant that takes less than its share takes the place of the
youngest request of the one that takes most.

Only requests that wait are evicted. One that was sent to an engine is out of reach: the picker leaves the data path
after the request phase, so there is no stream through which it could end the answer.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections import Counter
from dataclasses import dataclass

from fairlead.gateway.flow.band import Band
from fairlead.gateway.flow.drain import DrainRate, compute_retry_after_s
from fairlead.gateway.flow.holdback import compute_ceilings
from fairlead.gateway.flow.item import DISPATCH, QUEUED, Item, Outcome, Reason, Rejection, Verdict
from fairlead.gateway.flow.saturation import Saturation
from fairlead.gateway.flow.settings import FlowSettings, Limits

BAND_IDLE_S = 60.0
"""A priority without a request for this long no longer counts among those in use."""

_STRUCK_OUT_MIN = 64
_NEVER = -1.0


class Budget:
    """Bytes that the waiting requests of all pools of a process may hold together."""

    __slots__ = ("limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0


@dataclass(frozen=True, slots=True)
class BandState:
    """One priority, for people and metrics."""

    priority: int
    requests: int
    size_bytes: int
    tenants: int
    ceiling: float


@dataclass(frozen=True, slots=True)
class FlowState:
    """What waits and what became of all requests so far."""

    bands: tuple[BandState, ...]
    requests: int
    size_bytes: int
    dispatched_at_once: int
    dispatched_later: int
    rejected: dict[Reason, int]
    drain_per_s: float | None
    """Requests sent per second while others wait; None = unknown."""


class FlowControl:
    """The queues of one pool. Not thread-safe: one event loop, or one simulation, owns it."""

    def __init__(self, settings: FlowSettings | None = None, budget: Budget | None = None) -> None:
        self.settings = settings or FlowSettings()
        self.budget = budget or Budget(self.settings.whole_limits.size_bytes)
        self._has_own_budget = budget is None
        self.requests = 0
        """How many wait."""
        self.size_bytes = 0
        self.dispatched_at_once = 0
        self.dispatched_later = 0
        self.rejected: Counter[Reason] = Counter()
        self._bands: dict[int, Band] = {}
        # From high to low.
        self._order: list[Band] = []
        self._numbers = itertools.count(1)
        # (expires, number, item) of those that wait, with struck-out ones among them.
        self._expiries: list[tuple[float, int, Item]] = []
        self._drain = DrainRate()
        self._has_endpoints = True
        self._is_closed = False
        self._tidy_bands_s = 0.0

    def offer(self, item: Item, now_s: float, saturation: Saturation) -> Verdict:
        """A new request: it goes on at once, waits, or is refused; others may have to leave for it."""
        band = self._bands.get(item.priority)
        if band is None:
            band = self._open_band(item.priority, now_s)
        band.used_s = now_s
        if saturation.value < band.ceiling and (not self.requests or self._is_first(item.priority)):
            self.dispatched_at_once += 1
            return DISPATCH
        return self._queue(band, item, now_s, saturation)

    def is_open(self, priority: int, saturation: Saturation) -> bool:
        """Whether a request of this priority would go on at once. Nothing is counted and nobody makes room."""
        if self._is_closed or not self._is_first(priority):
            return False
        priorities = sorted({priority, *self._bands}, reverse=True)
        return saturation.value < compute_ceilings(priorities, self.settings)[priorities.index(priority)]

    def next(self, now_s: float, saturation: Saturation) -> Item | None:
        """Take the request whose turn it is, None when none may go. Ask `expired` first."""
        if not self.requests:
            return None
        self._see(saturation, now_s)
        if now_s >= self._tidy_bands_s:
            self._close_idle_bands(now_s)
        value = saturation.value
        for band in self._order:
            if band.requests:
                # A lower band never passes a higher one that has to wait.
                if value >= band.ceiling:
                    return None
                band.used_s = now_s
                item = band.pop(now_s)
                self._left(item)
                self._drain.sent(now_s)
                self.dispatched_later += 1
                return item
        raise AssertionError(f"{self.requests} requests wait in no band")

    def expired(self, now_s: float) -> list[Rejection]:
        """Take out the requests whose time is up."""
        gone = []
        heap = self._expiries
        while heap and (heap[0][0] <= now_s or not heap[0][2].waits):
            item = heapq.heappop(heap)[2]
            if item.waits:
                self._remove(item)
                gone.append(self._refuse(item, *self._time_is_up(item, now_s), now_s))
        return gone

    def abandon(self, item: Item) -> bool:
        """The client has gone. False when the request does not wait (any more)."""
        if not item.waits:
            return False
        self._remove(item)
        self.rejected[Reason.CONTEXT_CANCELLED] += 1
        return True

    def settle(self, priority: int, fairness_id: str, more_tokens: float) -> None:
        """A request that was sent cost so many tokens more than it was charged, or fewer when negative."""
        band = self._bands.get(priority)
        if band is not None:
            band.settle(fairness_id, more_tokens)

    def reconfigure(self, settings: FlowSettings, now_s: float) -> None:
        """Go on with other settings. What waits stays, though there may be more of it than may wait from now on; its
        time to live counts from when it came."""
        waiting = sorted([entry[2] for entry in self._expiries if entry[2].waits], key=lambda item: item.number)
        used_s = {band.priority: band.used_s for band in self._order}
        self.settings = settings
        if self._has_own_budget:
            self.budget.limit_bytes = settings.whole_limits.size_bytes
        self._bands = {priority: Band(priority, settings) for priority in used_s}
        self._order = sorted(self._bands.values(), key=lambda band: -band.priority)
        for band in self._order:
            band.used_s = used_s[band.priority]
        self._expiries = []
        for item in waiting:
            self._place(self._bands[item.priority], item, item.queued_s)
        self._close_idle_bands(now_s)

    def close(self, now_s: float) -> list[Rejection]:
        """Refuse everything that waits, and everything offered from now on."""
        self._is_closed = True
        for band in self._order:
            band.ceiling = _NEVER
        return self.refuse_all(Reason.SHUTTING_DOWN, _SHUTTING_DOWN, now_s)

    def refuse_all(self, reason: Reason, message: str, now_s: float) -> list[Rejection]:
        """Take out everything that waits, most important first."""
        gone = []
        for band in self._order:
            while band.requests:
                item = band.pop(now_s)
                self._left(item)
                gone.append(self._refuse(item, reason, message, now_s))
        return gone

    def refuse(self, item: Item, reason: Reason, message: str, now_s: float) -> Rejection:
        """Refuse a request that was not offered."""
        return self._refuse(item, reason, message, now_s)

    def next_deadline_s(self) -> float | None:
        """When `expired` has something to take out next; None when nothing waits."""
        heap = self._expiries
        while heap and not heap[0][2].waits:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def waiting_at(self, priority: int) -> tuple[int, int]:
        """Requests and bytes that wait at a priority."""
        band = self._bands.get(priority)
        return (band.requests, band.size_bytes) if band is not None else (0, 0)

    def snapshot(self, now_s: float) -> FlowState:
        bands = tuple(
            [BandState(b.priority, b.requests, b.size_bytes, b.waiting_tenants, b.ceiling) for b in self._order]
        )
        return FlowState(
            bands, self.requests, self.size_bytes, self.dispatched_at_once, self.dispatched_later, dict(self.rejected),
            self._drain.per_s(now_s),
        )  # fmt: skip

    # Bands

    def _is_first(self, priority: int) -> bool:
        """Whether nothing waits at this priority or above."""
        for band in self._order:
            if band.requests:
                return band.priority < priority
        return True

    def _open_band(self, priority: int, now_s: float) -> Band:
        band = self._bands[priority] = Band(priority, self.settings)
        band.used_s = now_s
        bisect.insort(self._order, band, key=lambda b: -b.priority)
        self._close_idle_bands(now_s)
        return band

    def _close_idle_bands(self, now_s: float) -> None:
        self._tidy_bands_s = now_s + BAND_IDLE_S / 4
        self._order = [b for b in self._order if b.requests or now_s - b.used_s <= BAND_IDLE_S]
        self._bands = {b.priority: b for b in self._order}
        ceilings = compute_ceilings([b.priority for b in self._order], self.settings)
        for band, ceiling in zip(self._order, ceilings, strict=True):
            band.ceiling = _NEVER if self._is_closed else ceiling

    # Waiting

    def _queue(self, band: Band, item: Item, now_s: float, saturation: Saturation) -> Verdict:
        self._see(saturation, now_s)
        if self._is_closed:
            return _rejected(self._refuse(item, Reason.SHUTTING_DOWN, _SHUTTING_DOWN, now_s))
        item.number = next(self._numbers)
        item.queued_s = now_s
        if item.ttl_s is not None and item.ttl_s <= 0.0:
            return _rejected(self._refuse(item, *self._time_is_up(item, now_s), now_s))
        victims = self._make_room(band, item, now_s)
        if victims is None:
            return _rejected(self._refuse(item, *self._no_room(band, saturation), now_s))
        if not self.requests:
            self._drain.waiting_began(now_s)
        self._wait(band, item, now_s)
        return Verdict(Outcome.QUEUED, None, tuple(victims)) if victims else QUEUED

    def _wait(self, band: Band, item: Item, now_s: float) -> None:
        item.waits = True
        self._place(band, item, now_s)
        self.requests += 1
        self.size_bytes += item.size_bytes
        self.budget.used_bytes += item.size_bytes

    def _place(self, band: Band, item: Item, since_s: float) -> None:
        settings = self.settings
        longest_s = settings.ttl_s + settings.no_endpoints_ttl_s
        item.give_up_s = since_s + (longest_s if item.ttl_s is None else min(item.ttl_s, longest_s))
        self._set_expiry(item, since_s)
        heapq.heappush(self._expiries, (item.expires_s, item.number, item))
        band.add(item, min(since_s + settings.ttl_s, item.give_up_s))

    def _set_expiry(self, item: Item, now_s: float) -> None:
        settings = self.settings
        ttl_s = settings.ttl_s if self._has_endpoints else settings.no_endpoints_ttl_s
        item.expires_s = min(now_s + ttl_s, item.give_up_s)

    def _see(self, saturation: Saturation, now_s: float) -> None:
        """The time to live depends on whether there are endpoints; it begins anew when the first one comes."""
        if saturation.has_endpoints is self._has_endpoints:
            return
        self._has_endpoints = saturation.has_endpoints
        waiting = [entry[2] for entry in self._expiries if entry[2].waits]
        for item in waiting:
            self._set_expiry(item, now_s)
        self._expiries = [(item.expires_s, item.number, item) for item in waiting]
        heapq.heapify(self._expiries)

    def _remove(self, item: Item) -> None:
        self._bands[item.priority].remove(item)
        self._left(item)

    def _left(self, item: Item) -> None:
        item.waits = False
        self.requests -= 1
        self.size_bytes -= item.size_bytes
        self.budget.used_bytes -= item.size_bytes
        heap = self._expiries
        if len(heap) - self.requests > max(_STRUCK_OUT_MIN, self.requests):
            self._expiries = [entry for entry in heap if entry[2].waits]
            heapq.heapify(self._expiries)

    # Room

    def _make_room(self, band: Band, item: Item, now_s: float) -> list[Rejection] | None:
        """Requests that leave so that `item` can wait; None when it has no claim to anybody's place."""
        over, over_bytes = self._over_whole(item)
        own, own_bytes = _over(band.limits, band.requests, band.size_bytes, item)
        if not (over or over_bytes or own or own_bytes):
            return []
        lower = [b for b in self._order if b.priority < band.priority]
        own = max(own, over - sum([b.requests for b in lower]))
        own_bytes = max(own_bytes, over_bytes - sum([b.size_bytes for b in lower]))
        victims: list[Rejection] = []
        if own > 0 or own_bytes > 0:
            if not _may_displace(band, item, own, own_bytes):
                return None
            tenant = band.heaviest()
            while own > 0 or own_bytes > 0:
                victim = band.pop_youngest_of(tenant)
                own, own_bytes = own - 1, own_bytes - victim.size_bytes
                victims.append(self._evicted(victim, Reason.EVICTED_QUEUE_PRESSURE, now_s))
        while any(self._over_whole(item)):
            while not lower[-1].requests:
                lower.pop()
            victim = lower[-1].pop_youngest_of(lower[-1].heaviest())
            victims.append(self._evicted(victim, Reason.EVICTED_PRIORITY, now_s))
        return victims

    def _over_whole(self, item: Item) -> tuple[int, int]:
        limits = self.settings.whole_limits if self._has_endpoints else self.settings.no_endpoints_limits
        over, over_bytes = _over(limits, self.requests, self.size_bytes, item)
        return over, max(over_bytes, self.budget.used_bytes + item.size_bytes - self.budget.limit_bytes)

    def _evicted(self, item: Item, reason: Reason, now_s: float) -> Rejection:
        self._left(item)
        return self._refuse(item, reason, _EVICTED[reason], now_s)

    # Answers

    def _refuse(self, item: Item, reason: Reason, message: str, now_s: float) -> Rejection:
        self.rejected[reason] += 1
        ahead = sum([b.requests for b in self._order if b.priority >= item.priority])
        retry_after_s = compute_retry_after_s(ahead, self._drain.per_s(now_s), item.number)
        return Rejection(item, reason, message, retry_after_s)

    def _no_room(self, band: Band, saturation: Saturation) -> tuple[Reason, str]:
        if not self._has_endpoints:
            return Reason.NO_ENDPOINTS, (
                f"No replica is ready, and {self.requests} requests wait for the first one, which is as many as may."
            )
        return Reason.SATURATED, (
            f"The model's replicas are at capacity ({saturation.reason}) and its queue is full: {band.requests} "
            f"requests of priority {band.priority} and {self.requests} in all wait."
        )

    def _time_is_up(self, item: Item, now_s: float) -> tuple[Reason, str]:
        waited_s = now_s - item.queued_s
        if not self._has_endpoints:
            return Reason.NO_ENDPOINTS, f"No replica became ready within {waited_s:.0f} s."
        return Reason.TTL_EXPIRED, f"No replica had room for the request within {waited_s:.0f} s."


_SHUTTING_DOWN = "The gateway is shutting down; send the request again."
_EVICTED = {
    Reason.EVICTED_QUEUE_PRESSURE: "The queue is full, and this tenant's requests take the largest part of it.",
    Reason.EVICTED_PRIORITY: "The queue is full, and a request of higher priority took the place of this one.",
}


def _over(limits: Limits, requests: int, size_bytes: int, item: Item) -> tuple[int, int]:
    """By how many requests and bytes the limits would be exceeded with the item."""
    return max(0, requests + 1 - limits.requests), max(0, size_bytes + item.size_bytes - limits.size_bytes)


def _may_displace(band: Band, item: Item, requests: int, size_bytes: int) -> bool:
    """Whether the tenant that takes most of a band has to make so much room for a request of another tenant.

    It has when it takes more, for its weight, than the other one would then. So places never go back and forth.
    """
    if not band.requests or item.size_bytes > band.limits.size_bytes:
        return False
    heaviest, own = band.heaviest(), band.tenant_of(item.fairness_id)
    return (
        heaviest is not own
        and heaviest.requests >= requests
        and heaviest.size_bytes >= size_bytes
        and band.share(own, item) < band.share(heaviest)
    )


def _rejected(rejection: Rejection) -> Verdict:
    return Verdict(Outcome.REJECTED, rejection)
