"""Sums of the requests of pools whose traffic is asked for, by engine and model: what versions are compared by.

Only requests that were picked while it was asked count, and how they ended: those of other pools cost a look at one
field. What is kept of a request is what `api.traffic_report` says; all that is not the engine's doing (x, z) is the
picker's own reckoning, so that an engine which caches worse than it should is not excused by it. How many requests an
engine has is known at every moment and not only at a pick: of the load at one moment the time per token of a long
answer says little, and what is corrected by it would be corrected by too little.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import log, log1p
from typing import NamedTuple

from fairlead.api.traffic_report import WORK_TOKENS, Moments, TrafficGroup, warm_up_of
from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.asked import Asked
from fairlead.gateway.endpoints import Change, Pool, Registry
from fairlead.gateway.load import InFlight, LoadTable
from fairlead.gateway.membership import REVISION_LABEL
from fairlead.gateway.route import Completion

MAX_GROUPS = 2_000
"""Of a pool; more engines and models than that are not told apart, and not counted. A report of as many is 1.3 MB: an
API server on etcd takes no object of more than 1.5."""
OTHER_EVENTS = 2
"""Of a stream that are no tokens, usually: the role or the end's reason, and the end itself."""
_SHORTEST_S = 1e-6


class _Sums:
    """Of (x, z, y)."""

    __slots__ = ("n", "x", "xx", "xy", "xz", "y", "yy", "z", "zy", "zz")

    def __init__(self) -> None:
        self.n = 0
        self.x = self.y = self.xx = self.xy = self.yy = 0.0
        self.z = self.zz = self.xz = self.zy = 0.0

    def add(self, x: float, y: float, z: float = 0.0) -> None:
        self.n += 1
        self.x += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y
        if z:
            self.z += z
            self.zz += z * z
            self.xz += x * z
            self.zy += z * y

    def moments(self) -> Moments:
        return Moments(self.n, self.x, self.y, self.xx, self.xy, self.yy, self.z, self.zz, self.xz, self.zy)


class _Group:
    """Requests to one engine under one model name."""

    __slots__ = ("errors", "itl", "output_length", "requests", "revision", "ttft")

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.requests = 0
        self.errors = 0
        self.ttft, self.itl, self.output_length = _Sums(), _Sums(), _Sums()


class _Presence:
    """What an engine has had to do over time."""

    __slots__ = ("at_s", "in_flight", "request_s")

    def __init__(self, in_flight: int, now_s: float) -> None:
        self.request_s = 0.0
        """Requests in flight, summed up over time."""
        self.in_flight = in_flight
        self.at_s = now_s

    def go_on(self, before: int, after: int, now_s: float) -> None:
        """A request begins or ends. Where others have, of which nothing is told here (they began before the pool asked,
        or are another picker's), it is taken to have been halfway."""
        if now_s > self.at_s:
            self.request_s += (self.in_flight + before) / 2.0 * (now_s - self.at_s)
            self.at_s = now_s
        self.in_flight = after


class _While(NamedTuple):
    """What an engine had to do while it had a request."""

    load: float
    """Logarithm of the requests in flight, in the mean."""
    prefill: float
    """Thousands of prompt tokens a second."""


@dataclass(slots=True)
class PoolTraffic:
    """What was seen of one pool since it was asked for."""

    asked: str
    since_s: float
    """Wall-clock time."""
    warm_up: int
    groups: dict[tuple[str, str], _Group] = field(default_factory=dict)
    """(address, model) -> sums."""
    answered: Counter[str] = field(default_factory=Counter)
    """Address -> answers that ended well, as long as they are its first."""
    presence: dict[str, _Presence] = field(default_factory=dict)
    """By address."""
    changed: bool = True
    """Whether there is anything that was not reported."""
    running: bool = False
    """Whether requests were under way at the last report."""


class Traffic:
    """The sums of all pools that ask. One event loop owns it."""

    def __init__(self, registry: Registry, loads: LoadTable, clock: Clock = SYSTEM) -> None:
        self.pools: dict[str, PoolTraffic] = {}
        """By key of the pool."""
        self._loads = loads
        self._clock = clock
        registry.on_change(self._pool_changed)

    def began(self, asked: Asked, pick_id: str) -> None:
        """A request of a pool that asks was picked, and is counted as in flight."""
        pool, request = self.pools.get(asked.plan.pool.key), self._loads.in_flight(pick_id)
        if pool is None or request is None:
            return
        presence = pool.presence.get(request.address)
        if presence is None:
            presence = pool.presence[request.address] = _Presence(request.running_then, request.picked_s)
        presence.go_on(request.running_then, request.running_then + 1, request.picked_s)
        request.presence_then, request.sent_then = presence.request_s, self._loads.sent_tokens(request.address)

    def ended(self, asked: Asked, request: InFlight, end: Completion) -> None:
        """A request of a pool that asks is over, and no more in flight."""
        pool = self.pools.get(asked.plan.pool.key)
        if pool is None:
            return
        meanwhile = self._meanwhile(pool, request)
        if pool.asked != asked.plan.pool.reports or _tells_nothing(end):
            return
        pool.changed = True
        group = self._group(pool, asked, request.address)
        if group is None:
            return
        group.requests += 1
        if has_failed(end):
            group.errors += 1
        elif end.code == 200 and end.first_byte_s is not None:
            address = request.address
            if pool.answered[address] < pool.warm_up:
                pool.answered[address] += 1
            else:
                _measure(group, asked, request, end, meanwhile)

    def _meanwhile(self, pool: PoolTraffic, request: InFlight) -> _While:
        presence, now_s = pool.presence.get(request.address), self._clock.monotonic_s()
        took_s = now_s - request.picked_s
        if presence is None or took_s <= 0.0:
            return _While(log1p(request.running_then), 0.0)
        left = self._loads.running(request.address)
        presence.go_on(left + 1, left, now_s)
        mean = (presence.request_s - request.presence_then) / took_s
        sent = self._loads.sent_tokens(request.address) - request.sent_then
        return _While(log(max(1.0, mean)), max(0.0, sent) / 1000.0 / took_s)

    def groups(self, pool: Pool) -> list[TrafficGroup]:
        """What is known of a pool that asks, with what is under way."""
        known = self.pools[pool.key].groups
        running: Counter[tuple[str, str]] = Counter()
        for address in dict.fromkeys((*pool.addresses, *[address for address, _ in known])):
            for request in self._loads.under_way(address):
                asked = request.tag
                if isinstance(asked, Asked) and asked.plan.pool.key == pool.key:
                    running[address, asked.query.model] += 1
        labels = {endpoint.address: endpoint.labels for endpoint in pool.endpoints}
        found = []
        for address, model in dict.fromkeys((*known, *running)):
            group = known.get((address, model)) or _Group(labels.get(address, {}).get(REVISION_LABEL, ""))
            found.append(
                TrafficGroup(
                    revision=group.revision, model=model, endpoint=address, in_flight=running[address, model],
                    requests=group.requests, errors=group.errors, ttft=group.ttft.moments(),
                    itl=group.itl.moments(), output_length=group.output_length.moments(),
                )
            )  # fmt: skip
        return found

    def _group(self, pool: PoolTraffic, asked: Asked, address: str) -> _Group | None:
        key = (address, asked.query.model)
        group = pool.groups.get(key)
        if group is None and len(pool.groups) < MAX_GROUPS:
            endpoint = asked.plan.by_address.get(address)
            revision = endpoint.labels.get(REVISION_LABEL, "") if endpoint is not None else ""
            group = pool.groups[key] = _Group(revision)
        return group

    def _pool_changed(self, change: Change) -> None:
        asks = change.now.reports if change.now is not None else ""
        pool = self.pools.get(change.key)
        if not asks:
            self.pools.pop(change.key, None)
        elif pool is None or pool.asked != asks:
            self.pools[change.key] = PoolTraffic(asks, self._clock.wall_s(), warm_up_of(asks))


def has_failed(end: Completion) -> bool:
    """Whether it is the engine's fault: it did not take the request, cut it, gave no answer, or one that says that it
    cannot serve. Not found is among those: the gateway has found the model and the path."""
    return end.connect_failed or end.died or end.code >= 500 or end.code in (0, 404)


def _tells_nothing(end: Completion) -> bool:
    """Whether the client left before anything could go wrong."""
    return end.client_left and not (end.connect_failed or end.died or end.code >= 500)


def _measure(group: _Group, asked: Asked, request: InFlight, end: Completion, meanwhile: _While) -> None:
    query, tokens = asked.query, end.output_tokens
    first_s, last_s = end.first_byte_s, end.last_byte_s
    # Legs that run before the answer are part of what its client waits for: from the first pick on.
    before_s = request.picked_s - asked.head.received_s
    work = log(WORK_TOKENS + max(0, query.prompt_tokens - asked.matched_tokens) + max(0.0, request.backlog_then))
    assert first_s is not None
    if asked.request.stream:
        group.ttft.add(work, log(max(first_s - before_s, _SHORTEST_S)))
        count = tokens or end.stream_events
        if last_s is not None and count is not None and count >= 2:
            group.itl.add(meanwhile.load, log(max((last_s - first_s) / (count - 1), _SHORTEST_S)), meanwhile.prefill)
    elif last_s is not None:
        whole_s = max(last_s - before_s, _SHORTEST_S)
        if tokens:
            group.itl.add(meanwhile.load, log(whole_s / tokens), meanwhile.prefill)
        else:
            group.ttft.add(work, log(whole_s))
    if tokens is None and end.stream_events is not None:
        # Without a usage at the stream's end its events are counted, which is what its client sees of its length.
        tokens = end.stream_events - OTHER_EVENTS
    if tokens is not None:
        group.output_length.add(log1p(max(0, query.prompt_tokens)), log1p(max(0, tokens)))
