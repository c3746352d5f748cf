"""How busy each endpoint is: requests in flight through this gateway, and what the engine last reported.

A request counts from its pick until Envoy's access log tells of its end. A log entry may be lost (a picker restart, a
broken stream), so every scrape corrects the count: an engine that reports fewer requests than this gateway believes to
be there, of those old enough to have arrived, has lost the oldest.
"""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field

from fairlead.engines import UNKNOWN, EngineSignals
from fairlead.gateway.pick import Candidate

STALE_AFTER_S = 5.0
"""Signals older than this are unknown: queues of engines turn over within seconds."""

SETTLE_S = 1.0
"""A request younger than this at a scrape may not have reached the engine's counters yet."""

HUNG_AFTER_FAILURES = 3
"""Scrapes without an answer in a row after which an endpoint counts as unreachable."""

LOST_AFTER_S = 3600.0
"""A request of which nothing was heard for this long is no longer counted."""


@dataclass(slots=True)
class EndpointLoad:
    """State of one endpoint. Times on the monotonic clock, seconds."""

    in_flight: dict[str, float] = field(default_factory=dict)
    """pick id -> when it was picked, oldest first."""
    signals: EngineSignals = UNKNOWN
    signals_at_s: float | None = None
    others: int | None = None
    reachable: bool = True
    last_pick: int = 0
    scrape_error: str = ""
    failed_scrapes: int = 0
    """In a row."""

    def is_stale(self, now_s: float) -> bool:
        return self.signals_at_s is None or now_s - self.signals_at_s > STALE_AFTER_S


class LoadTable:
    """Load of every endpoint, by address. Not thread-safe: one event loop owns it."""

    def __init__(self) -> None:
        self._by_address: dict[str, EndpointLoad] = {}
        self._by_pick: dict[str, str] = {}  # pick id -> address
        self._sequence = itertools.count(1)
        # Envoy may still report the ends of requests that an earlier process picked.
        self._prefix = secrets.token_hex(4)

    def of(self, address: str) -> EndpointLoad:
        load = self._by_address.get(address)
        if load is None:
            load = self._by_address[address] = EndpointLoad()
        return load

    def candidate(self, address: str, now_s: float) -> Candidate:
        """The endpoint as a decision sees it now; stale signals are unknown."""
        load = self.of(address)
        stale = load.is_stale(now_s)
        return Candidate(
            address=address,
            in_flight=len(load.in_flight),
            others=None if stale else load.others,
            kv_cache_usage_ratio=None if stale else load.signals.kv_cache_usage_ratio,
            reachable=load.reachable,
            last_pick=load.last_pick,
        )

    def picked(self, address: str, now_s: float) -> str:
        """Count a request as in flight; returns the id of the pick, to be given to `ended`."""
        load = self.of(address)
        load.last_pick = next(self._sequence)
        pick_id = f"{self._prefix}-{load.last_pick:x}"
        load.in_flight[pick_id] = now_s
        self._by_pick[pick_id] = address
        return pick_id

    def ended(self, pick_id: str) -> str | None:
        """The request is over; returns the address that was picked for it, or None for an unknown pick."""
        address = self._by_pick.pop(pick_id, None)
        if address is not None and (load := self._by_address.get(address)) is not None:
            load.in_flight.pop(pick_id, None)
        return address

    def connect_failed(self, address: str) -> None:
        """A connection to the endpoint was refused or timed out; a successful scrape clears it."""
        if (load := self._by_address.get(address)) is not None:
            load.reachable = False

    def scraped(self, address: str, signals: EngineSignals, began_s: float, now_s: float) -> None:
        """Take over a report of the engine; `began_s` is when it was asked for."""
        load = self.of(address)
        load.signals, load.signals_at_s, load.scrape_error = signals, now_s, ""
        load.reachable, load.failed_scrapes = True, 0
        if signals.running_requests is None or signals.waiting_requests is None:
            load.others = None
            return
        reported = signals.running_requests + signals.waiting_requests
        settled = [p for p, picked_s in load.in_flight.items() if picked_s < began_s - SETTLE_S]
        for pick_id in settled[: max(0, len(settled) - reported)]:
            self.ended(pick_id)
        load.others = max(0, reported - len(load.in_flight))

    def scrape_failed(self, address: str, error: str, *, refused: bool, silent: bool = True) -> None:
        """The report did not come; `refused` when no connection could be made at all.

        An engine that accepts connections and stays `silent` time and again is taken for hung. One that answers that it
        has no such page is not, nor does a port that is there for metrics alone tell of the one that serves.
        """
        load = self.of(address)
        load.scrape_error = error
        if not silent:
            return
        load.failed_scrapes += 1
        if refused or load.failed_scrapes >= HUNG_AFTER_FAILURES:
            load.reachable = False

    def forget(self, address: str) -> None:
        """The endpoint exists no more."""
        load = self._by_address.pop(address, None)
        for pick_id in load.in_flight if load else ():
            self._by_pick.pop(pick_id, None)

    def expire(self, now_s: float) -> int:
        """Stop counting requests of which nothing was heard for `LOST_AFTER_S`; returns how many there were."""
        lost = [
            pick_id
            for load in self._by_address.values()
            for pick_id, picked_s in load.in_flight.items()
            if now_s - picked_s > LOST_AFTER_S
        ]
        for pick_id in lost:
            self.ended(pick_id)
        return len(lost)
