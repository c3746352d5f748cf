"""Flow control without any structure that makes it quick: lists that are searched anew for every answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from fairlead.gateway.flow import Fairness, FlowSettings, Order
from fairlead.gateway.flow.holdback import compute_ceilings


@dataclass
class Asking:
    """A request of the naive twin."""

    name: int
    priority: int
    tenant: str
    tokens: float
    size_bytes: int
    deadline_s: float | None
    ttl_s: float | None
    number: int = 0
    key: float = 0.0
    give_up_s: float = 0.0
    expires_s: float = 0.0


@dataclass
class Account:
    """What the naive twin knows of a tenant within a priority."""

    served: float = 0.0
    since: int = 0
    weighed: int = 0


@dataclass
class Naive:
    """Answers like `FlowControl`; requests are named by their `name`."""

    settings: FlowSettings
    waiting: list[Asking] = field(default_factory=list)
    accounts: dict[tuple[int, str], Account] = field(default_factory=dict)
    virtual: dict[int, float] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    has_endpoints: bool = True
    ticks: int = 0

    def offer(self, r: Asking, now_s: float, value: float, has_endpoints: bool = True) -> tuple[Any, ...]:
        self.seen.add(r.priority)
        ahead = [w for w in self.waiting if w.priority >= r.priority]
        if value < self._ceiling(r.priority) and not ahead:
            return ("dispatch",)
        self._see(has_endpoints, now_s)
        r.number = self._tick()
        if r.ttl_s is not None and r.ttl_s <= 0:
            return ("rejected", "rejected-ttl-expired" if self.has_endpoints else "rejected-no-endpoints")
        victims = self._make_room(r)
        if victims is None:
            return ("rejected", "rejected-saturated" if self.has_endpoints else "rejected-no-endpoints")
        s = self.settings
        longest_s = s.ttl_s + s.no_endpoints_ttl_s
        r.give_up_s = now_s + min(longest_s, longest_s if r.ttl_s is None else r.ttl_s)
        self._set_expiry(r, now_s)
        patience_s = min(now_s + s.ttl_s, r.give_up_s)
        if s.order is Order.FCFS:
            r.key = 0.0
        elif r.deadline_s is not None:
            r.key = r.deadline_s
        else:
            r.key = math.inf if s.order is Order.SLO_DEADLINE else patience_s
        is_first = not self._of(r.priority, r.tenant)
        self.waiting.append(r)
        account = self.accounts.setdefault((r.priority, self._tenant(r.tenant)), Account())
        if is_first:
            account.served = max(account.served, self.virtual.get(r.priority, 0.0))
            account.since = self._tick()
        account.weighed = self._tick()
        return ("queued", tuple((v.name, why) for v, why in victims))

    def next(self, now_s: float, value: float, has_endpoints: bool = True) -> int | None:
        if not self.waiting:
            return None
        self._see(has_endpoints, now_s)
        priority = max(w.priority for w in self.waiting)
        if value >= self._ceiling(priority):
            return None
        tenants = {self._tenant(w.tenant) for w in self.waiting if w.priority == priority}
        if self.settings.fairness is Fairness.WEIGHTED_TOKENS:
            turn = min(tenants, key=lambda t: (self.accounts[priority, t].served, self.accounts[priority, t].since))
        else:
            turn = min(tenants, key=lambda t: self.accounts[priority, t].since)
        chosen = min(self._of(priority, turn), key=lambda w: self._place(w, now_s))
        account = self.accounts[priority, turn]
        self.virtual[priority] = max(self.virtual.get(priority, 0.0), account.served)
        account.served += chosen.tokens / self.settings.weights.get(turn, 1.0)
        self.waiting.remove(chosen)
        if self._of(priority, turn):
            account.since = self._tick()
        self._took(chosen)
        return chosen.name

    def expired(self, now_s: float) -> list[int]:
        gone = sorted((w for w in self.waiting if w.expires_s <= now_s), key=lambda w: (w.expires_s, w.number))
        for w in gone:
            self._remove(w)
        return [w.name for w in gone]

    def abandon(self, name: int) -> bool:
        for w in self.waiting:
            if w.name == name:
                self._remove(w)
                return True
        return False

    def _place(self, w: Asking, now_s: float) -> tuple[float, ...]:
        is_late = w.deadline_s is not None and w.deadline_s < now_s
        if self.settings.order is Order.EDF_ATTAINABLE and is_late:
            return (1, w.number)
        return (0, w.key, w.number)

    def _tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def _tenant(self, name: str) -> str:
        return "" if self.settings.fairness is Fairness.GLOBAL_STRICT else name

    def _of(self, priority: int, tenant: str) -> list[Asking]:
        return [w for w in self.waiting if w.priority == priority and self._tenant(w.tenant) == self._tenant(tenant)]

    def _ceiling(self, priority: int) -> float:
        order = sorted(self.seen, reverse=True)
        return compute_ceilings(order, self.settings)[order.index(priority)]

    def _see(self, has_endpoints: bool, now_s: float) -> None:
        if has_endpoints != self.has_endpoints:
            self.has_endpoints = has_endpoints
            for w in self.waiting:
                self._set_expiry(w, now_s)

    def _set_expiry(self, r: Asking, now_s: float) -> None:
        ttl_s = self.settings.ttl_s if self.has_endpoints else self.settings.no_endpoints_ttl_s
        r.expires_s = min(now_s + ttl_s, r.give_up_s)

    def _remove(self, r: Asking) -> None:
        self.waiting.remove(r)
        self._took(r)

    def _took(self, r: Asking) -> None:
        if self._of(r.priority, r.tenant):
            self.accounts[r.priority, self._tenant(r.tenant)].weighed = self._tick()
        if not any(w.priority == r.priority for w in self.waiting):
            mine = [a.served for (p, _), a in self.accounts.items() if p == r.priority]
            self.virtual[r.priority] = max([self.virtual.get(r.priority, 0.0), *mine])

    def _share(self, priority: int, tenant: str, extra: Asking | None = None) -> float:
        mine = self._of(priority, tenant) + ([extra] if extra else [])
        limits = self.settings.limits_of(priority)
        by_bytes = sum(w.size_bytes for w in mine) / (limits.size_bytes or 1)
        weight = self.settings.weights.get(self._tenant(tenant), 1.0)
        return max(len(mine) / (limits.requests or 1), by_bytes) / weight

    def _make_room(self, r: Asking) -> list[tuple[Asking, str]] | None:
        s = self.settings
        whole = s.whole_limits if self.has_endpoints else s.no_endpoints_limits
        band = s.limits_of(r.priority)

        def over() -> tuple[int, int, int, int]:
            peers = [w for w in self.waiting if w.priority == r.priority]
            return (
                max(0, len(peers) + 1 - band.requests),
                max(0, sum(w.size_bytes for w in peers) + r.size_bytes - band.size_bytes),
                max(0, len(self.waiting) + 1 - whole.requests),
                max(0, sum(w.size_bytes for w in self.waiting) + r.size_bytes
                    - min(whole.size_bytes, s.whole_limits.size_bytes)),
            )  # fmt: skip

        own, own_bytes, all_, all_bytes = over()
        if not any(over()):
            return []
        lower = [w for w in self.waiting if w.priority < r.priority]
        own = max(own, all_ - len(lower))
        own_bytes = max(own_bytes, all_bytes - sum(w.size_bytes for w in lower))
        victims = []
        if own > 0 or own_bytes > 0:
            heaviest = self._heaviest(r.priority)
            if heaviest is None or r.size_bytes > band.size_bytes:
                return None
            rich = self._of(r.priority, heaviest)
            if (
                heaviest == self._tenant(r.tenant)
                or len(rich) < own
                or sum(w.size_bytes for w in rich) < own_bytes
                or self._share(r.priority, r.tenant, r) >= self._share(r.priority, heaviest)
            ):
                return None
            while own > 0 or own_bytes > 0:
                victim = max(self._of(r.priority, heaviest), key=lambda w: w.number)
                own, own_bytes = own - 1, own_bytes - victim.size_bytes
                self._remove(victim)
                victims.append((victim, "evicted-queue-pressure"))
        while any(over()[2:]):
            lowest = min(w.priority for w in self.waiting)
            heaviest = self._heaviest(lowest)
            assert heaviest is not None
            victim = max(self._of(lowest, heaviest), key=lambda w: w.number)
            self._remove(victim)
            victims.append((victim, "evicted-priority"))
        return victims

    def _heaviest(self, priority: int) -> str | None:
        tenants = {self._tenant(w.tenant) for w in self.waiting if w.priority == priority}
        if not tenants:
            return None
        return min(tenants, key=lambda t: (-self._share(priority, t), self.accounts[priority, t].weighed))
