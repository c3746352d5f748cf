"""How busy each endpoint is: requests and tokens in flight through this gateway, and what the engine last reported.

A request counts from its pick until Envoy's access log tells of its end. A log entry may be lost (a picker restart, a
broken stream), so every scrape corrects the count: an engine that reports fewer requests than this gateway believes to
be there, of those old enough to have arrived, has lost the oldest.

Each endpoint has one `Candidate`, which is what decisions see; it is kept up to date here and nowhere else. No I/O and
no clock: the simulator runs the same table.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

from fairlead.engines import EngineSignals
from fairlead.gateway.endpoint_load import (
    ARRIVAL_S,
    NO_LOAD,
    STALE_AFTER_S,
    UNKNOWN_ADAPTER_SLOTS,
    EndpointLoad,
    InFlight,
    PeerLoad,
    count_others,
    count_peer,
    forget_signals,
    raise_backlog,
    set_window,
    settle_backlog,
    use_adapter,
    work_off,
)
from fairlead.gateway.pick import Candidate
from fairlead.gateway.pick.room import FIRST_WINDOW

__all__ = [
    "ARRIVAL_S", "HUNG_AFTER_FAILURES", "LOST_AFTER_S", "MAX_UNCOUNTED", "SETTLE_S", "STALE_AFTER_S",
    "UNKNOWN_ADAPTER_SLOTS", "EndpointLoad", "InFlight", "LoadTable", "PeerLoad",
]  # fmt: skip

SETTLE_S = 1.0
"""A request younger than this at a scrape may not have reached the engine's counters yet."""

HUNG_AFTER_FAILURES = 3
"""Scrapes without an answer in a row after which an endpoint counts as unreachable."""

LOST_AFTER_S = 3600.0
"""A request of which nothing was heard for this long is no longer counted."""

MAX_UNCOUNTED = 10_000
"""Requests that are remembered though they are not counted any more, as their end may yet be reported."""


class LoadTable:
    """Load of every endpoint, by address. Not thread-safe: one event loop owns it."""

    def __init__(self, replica: str | None = None) -> None:
        # Envoy may still report the ends of requests that an earlier process picked.
        self.replica = replica or secrets.token_hex(4)
        self._by_address: dict[str, EndpointLoad] = {}
        self._by_pick: dict[str, InFlight] = {}
        self._uncounted: dict[str, InFlight] = {}
        self.on_lost: Callable[[InFlight], None] = lambda request: None
        """Called with each request that is counted no more though its end was not reported."""
        self._sequence = itertools.count(1)
        self.changed: set[str] = set()
        """Addresses whose own load is another than at the last `own_loads`."""

    def of(self, address: str) -> EndpointLoad:
        load = self._by_address.get(address)
        if load is None:
            load = self._by_address[address] = EndpointLoad(Candidate(address, window_requests=FIRST_WINDOW))
        return load

    def under_way(self, address: str) -> Iterable[InFlight]:
        """Requests of this picker at an endpoint that are counted."""
        load = self._by_address.get(address)
        return load.in_flight.values() if load is not None else ()

    def running(self, address: str) -> int:
        """Requests at an endpoint, as far as is known; 0 for one that is not known."""
        load = self._by_address.get(address)
        return load.candidate.in_flight + (load.candidate.others or 0) if load is not None else 0

    def sent_tokens(self, address: str) -> float:
        """Prompt tokens outside its prefix cache that all pickers have ever sent to an endpoint, as far as is known."""
        load = self._by_address.get(address)
        if load is None:
            return 0.0
        return load.sent_tokens + sum([peer.sent_tokens for peer in load.peers.values()])

    def describe(
        self, address: str, role: str, labels: Mapping[str, str], pod: str = "", adapters: frozenset[str] | None = None
    ) -> None:
        """What is known of the endpoint from its pod (namespace/name)."""
        candidate = self.of(address).candidate
        candidate.role, candidate.labels, candidate.pod, candidate.adapters = role, labels, pod, adapters

    def candidates(self, addresses: Sequence[str], now_s: float) -> list[Candidate]:
        """The endpoints as a decision sees them now; stale signals are unknown."""
        table = self._by_address
        found = []
        for address in addresses:
            load = table.get(address) or self.of(address)
            candidate = load.candidate
            signals_at_s = load.signals_at_s
            if signals_at_s is not None and now_s - signals_at_s > load.stale_after_s:
                forget_signals(load)
            if candidate.prefill_backlog_tokens:
                work_off(load, now_s)
            found.append(candidate)
        return found

    def candidate(self, address: str, now_s: float) -> Candidate:
        """One endpoint as a decision sees it now."""
        return self.candidates((address,), now_s)[0]

    def picked(
        self,
        address: str,
        now_s: float,
        *,
        prompt_tokens: int = 0,
        matched_tokens: int = 0,
        output_tokens: float = 0.0,
        adapter: str = "",
        cold: bool = False,
        tag: object = None,
    ) -> str:
        """Count a request as in flight; returns the id of the pick, to be given to `ended`.

        `cold`: no endpoint holds anything of its prompt.
        """
        load = self.of(address)
        candidate = load.candidate
        uncached = max(0, prompt_tokens - matched_tokens)
        number = candidate.last_pick = next(self._sequence)
        if cold:
            candidate.last_cold_pick = number
        if candidate.prefill_backlog_tokens:
            work_off(load, now_s)
        request = InFlight(
            address, now_s, prompt_tokens, uncached, output_tokens, adapter,
            candidate.in_flight + (candidate.others or 0), candidate.prefill_backlog_tokens, tag,
        )  # fmt: skip
        pick_id = f"{self.replica}-{number:x}"
        load.in_flight[pick_id] = self._by_pick[pick_id] = request
        candidate.in_flight += 1
        candidate.in_flight_tokens += prompt_tokens + int(output_tokens)
        candidate.prefill_backlog_tokens += uncached
        load.sent_tokens += uncached
        self.changed.add(address)
        load.backlog_at_s = now_s
        if adapter:
            use_adapter(candidate, adapter)
            if candidate.running_adapters is not None and adapter not in candidate.running_adapters:
                candidate.running_adapters |= {adapter}
        return pick_id

    def computed_elsewhere(self, pick_id: str) -> None:
        """The prompt of a request that was just picked is computed by another endpoint than the one that answers."""
        request = self._by_pick.get(pick_id)
        load = self._by_address.get(request.address) if request is not None else None
        if request is not None and load is not None:
            candidate = load.candidate
            candidate.prefill_backlog_tokens = max(0.0, candidate.prefill_backlog_tokens - request.uncached_tokens)
            load.sent_tokens -= request.uncached_tokens
            request.uncached_tokens = 0

    def in_flight(self, pick_id: str) -> InFlight | None:
        """The request of a pick, None when it is over or was never known."""
        return self._by_pick.get(pick_id) or self._uncounted.get(pick_id)

    def ended(self, pick_id: str) -> InFlight | None:
        """The request is over; returns what was known of it, or None for an unknown pick."""
        request = self._by_pick.pop(pick_id, None)
        if request is None:
            return self._uncounted.pop(pick_id, None)
        load = self._by_address.get(request.address)
        if load is not None and load.in_flight.pop(pick_id, None) is not None:
            candidate = load.candidate
            candidate.in_flight -= 1
            candidate.in_flight_tokens -= request.prompt_tokens + int(request.output_tokens)
            self.changed.add(request.address)
            settle_backlog(load)
        return request

    def connect_failed(self, address: str) -> None:
        """A connection to the endpoint was refused or timed out; a successful scrape clears it."""
        if (load := self._by_address.get(address)) is not None:
            load.candidate.reachable = False

    def set_out(self, address: str, *, out: bool) -> None:
        """Take the endpoint out, or let it back: it then counts as reachable until something fails."""
        if (load := self._by_address.get(address)) is not None:
            load.is_out = out
            load.candidate.reachable = not out

    def scraped(self, address: str, signals: EngineSignals, began_s: float, now_s: float) -> None:
        """Take over a report of the engine; `began_s` is when it was asked for."""
        load = self.of(address)
        candidate = load.candidate
        load.signals, load.signals_at_s, load.scrape_error = signals, now_s, ""
        candidate.reachable, load.failed_scrapes = not load.is_out, 0
        candidate.kv_cache_usage_ratio = signals.kv_cache_usage_ratio
        candidate.running, candidate.waiting = signals.running_requests, signals.waiting_requests
        candidate.kv_capacity_tokens = signals.kv_cache_capacity_tokens
        candidate.max_adapters = signals.max_adapters
        candidate.waiting_adapters = frozenset(signals.waiting_adapters or ())
        if signals.running_adapters is not None:
            recent = {r.adapter for r in load.in_flight.values() if r.adapter and r.picked_s > began_s - SETTLE_S}
            candidate.running_adapters = frozenset(signals.running_adapters) | recent
            for adapter in signals.running_adapters:
                if adapter not in candidate.loaded_adapters:
                    use_adapter(candidate, adapter)
        else:
            candidate.running_adapters = None
        if signals.running_requests is None or signals.waiting_requests is None:
            load.reported_others = None
        else:
            set_window(load, signals.running_requests, signals.waiting_requests, began_s)
            self._correct(load, signals.running_requests + signals.waiting_requests, began_s)
            raise_backlog(load, signals.waiting_requests, began_s, now_s)
        count_others(load)

    def _correct(self, load: EndpointLoad, reported: int, began_s: float) -> None:
        settled_before_s = began_s - SETTLE_S
        if len(load.in_flight) > reported:
            settled = [p for p, request in load.in_flight.items() if request.picked_s < settled_before_s]
            for pick_id in settled[: max(0, len(settled) - reported)]:
                if (request := self.ended(pick_id)) is not None:
                    self._lose(pick_id, request)
        load.reported_others = max(0, reported - len(load.in_flight))

    def scrape_failed(self, address: str, error: str, *, refused: bool, silent: bool = True) -> None:
        """The report did not come; `refused` when no connection could be made at all.

        An engine that accepts connections and stays `silent` time and again is taken for hung. One that answers that it
        has no such page is not, nor does a port that is there for metrics alone tell of the one that serves: such an
        endpoint is given another chance, as no report will ever say that it takes connections again.
        """
        load = self.of(address)
        load.scrape_error = error
        if not silent:
            load.candidate.reachable = not load.is_out
            return
        load.failed_scrapes += 1
        if refused or load.failed_scrapes >= HUNG_AFTER_FAILURES:
            load.candidate.reachable = False

    def own_loads(self, addresses: Iterable[str] | None = None) -> dict[str, PeerLoad]:
        """What this picker has in flight, for its peers: at these addresses, or wherever it has anything."""
        if addresses is None:
            addresses = [address for address, load in self._by_address.items() if load.in_flight]
        found = {}
        for address in addresses:
            load = self._by_address.get(address)
            if load is None:
                found[address] = NO_LOAD
                continue
            tokens = load.candidate.in_flight_tokens - sum([peer.tokens for peer in load.peers.values()])
            found[address] = PeerLoad(len(load.in_flight), tokens, load.sent_tokens)
        return found

    def peer_loads(self, replica: str, loads: Mapping[str, PeerLoad], now_s: float, *, whole: bool) -> None:
        """What another picker has in flight, by address; `whole`: and nothing at any other.

        Addresses that are not known here are passed over: the next whole report names them again.
        """
        for address, peer in loads.items():
            load = self._by_address.get(address)
            if load is not None:
                count_peer(load, replica, peer, now_s)
        if whole:
            for address, load in self._by_address.items():
                before = load.peers.get(replica)
                if before is not None and before.requests and address not in loads:
                    count_peer(load, replica, PeerLoad(0, 0, before.sent_tokens), now_s)

    def peer_gone(self, replica: str) -> None:
        """Nothing is heard of the other picker any more: its requests are counted no longer."""
        for load in self._by_address.values():
            peer = load.peers.pop(replica, None)
            if peer is not None:
                load.candidate.in_flight_tokens -= peer.tokens
                settle_backlog(load)
                count_others(load)

    def forget(self, address: str) -> None:
        """The endpoint exists no more. Requests may still be answered there; they are counted nowhere."""
        load = self._by_address.pop(address, None)
        self.changed.discard(address)
        for pick_id in load.in_flight if load else ():
            if (request := self._by_pick.pop(pick_id, None)) is not None:
                self._lose(pick_id, request)

    def expire(self, now_s: float) -> int:
        """Forget requests of which nothing was heard for `LOST_AFTER_S`; returns how many of them counted still."""
        lost = [pick_id for pick_id, request in self._by_pick.items() if now_s - request.picked_s > LOST_AFTER_S]
        for pick_id in lost:
            if (request := self.ended(pick_id)) is not None:
                self._lose(pick_id, request)
        for pick_id in [p for p, r in self._uncounted.items() if now_s - r.picked_s > LOST_AFTER_S]:
            del self._uncounted[pick_id]
        return len(lost)

    def _lose(self, pick_id: str, request: InFlight) -> None:
        """Nothing tells of the request but its end, should that be reported."""
        request.counted = False
        self._uncounted[pick_id] = request
        if len(self._uncounted) > MAX_UNCOUNTED:
            del self._uncounted[next(iter(self._uncounted))]
        self.on_lost(request)
