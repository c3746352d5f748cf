"""What is known of the load of one endpoint, and how reports, peers and time change it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.engines import UNKNOWN, EngineSignals
from fairlead.gateway.pick import Candidate
from fairlead.gateway.pick.room import FIRST_WINDOW, next_window

STALE_AFTER_S = 5.0
"""Signals older than this are unknown: queues of engines turn over within seconds."""

ARRIVAL_S = 0.02
"""A request that was picked less than this before a scrape may not be in the engine's queue yet."""

UNKNOWN_ADAPTER_SLOTS = 8
"""Adapters that an engine keeps loaded which does not say."""

UNKNOWN_PREFILL_TOKEN_S = 1e-4
"""Prefill time of a token where no speed was learned yet: an 8B model on a current accelerator, roughly."""


@dataclass(slots=True)
class InFlight:
    """A request on its way."""

    address: str
    picked_s: float
    prompt_tokens: int = 0
    uncached_tokens: int = 0
    output_tokens: float = 0.0
    adapter: str = ""
    running_then: int = 0
    """Requests that were at the endpoint when it was picked."""
    backlog_then: float = 0.0
    """Prompt tokens that were before it."""
    tag: object = None
    """Whatever the one who picked wants to find again at the end."""
    counted: bool = True
    """False once the endpoint is gone, or its engine has reported that it has fewer requests."""
    presence_then: float = 0.0
    sent_then: float = 0.0
    """Of the endpoint when it was picked, where versions are compared (`observe.traffic`)."""


class PeerLoad(NamedTuple):
    """What a picker has at one endpoint."""

    requests: int
    """In flight."""
    tokens: int
    """Prompt tokens, and answer tokens to be expected, of these requests."""
    sent_tokens: float
    """Prompt tokens outside its prefix cache that it has ever sent there: what a peer has not heard of yet is the
    difference to what it heard last."""


NO_LOAD = PeerLoad(0, 0, 0.0)


@dataclass(slots=True)
class EndpointLoad:
    """State of one endpoint. Times on the monotonic clock, seconds."""

    candidate: Candidate
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    """pick id -> request, oldest first."""
    signals: EngineSignals = UNKNOWN
    signals_at_s: float | None = None
    stale_after_s: float = STALE_AFTER_S
    """Longer for endpoints that are idle and therefore asked rarely."""
    reported_others: int | None = None
    peers: dict[str, PeerLoad] = field(default_factory=dict)
    """picker replica -> what it has in flight here."""
    sent_tokens: float = 0.0
    """Prompt tokens outside its prefix cache that this picker has ever sent it."""
    backlog_at_s: float = 0.0
    """When the candidate's backlog was right."""
    scrape_error: str = ""
    failed_scrapes: int = 0
    """In a row."""
    is_out: bool = False
    """Taken out because its requests failed, whatever its metrics page says."""

    @property
    def reachable(self) -> bool:
        return self.candidate.reachable

    @property
    def others(self) -> int | None:
        return self.candidate.others

    def is_stale(self, now_s: float) -> bool:
        return self.signals_at_s is None or now_s - self.signals_at_s > self.stale_after_s


def use_adapter(candidate: Candidate, adapter: str) -> None:
    """It is loaded now, if need be in the place of the one that was used longest ago."""
    loaded = candidate.loaded_adapters
    loaded.pop(adapter, None)
    loaded[adapter] = None
    while len(loaded) > (candidate.max_adapters or UNKNOWN_ADAPTER_SLOTS):
        del loaded[next(iter(loaded))]


def raise_backlog(load: EndpointLoad, waiting: int, began_s: float, now_s: float) -> None:
    """Nothing of what waits in the engine's queue is computed yet, whatever the time that has passed.

    Engines serve in order, so those that wait are the last ones they got. Requests of others are taken to be like ours.
    """
    if not waiting or not load.in_flight:
        return
    ours = len(load.in_flight)
    left = waiting * ours / (ours + (load.reported_others or 0))
    scale = waiting / left
    backlog = 0.0
    for request in reversed(load.in_flight.values()):
        if request.picked_s > began_s - ARRIVAL_S:
            backlog += request.uncached_tokens
        elif left >= 1.0:
            backlog += scale * request.uncached_tokens
            left -= 1.0
        else:
            break
    work_off(load, now_s)
    if backlog > load.candidate.prefill_backlog_tokens:
        load.candidate.prefill_backlog_tokens = backlog


def set_window(load: EndpointLoad, running: int, waiting: int, began_s: float) -> None:
    """How much the endpoint may have until its next report, by this one (`pick.room.next_window`)."""
    candidate = load.candidate
    window = FIRST_WINDOW if candidate.window_requests is None else candidate.window_requests
    taken = 0
    if not waiting and 2 * len(load.in_flight) > window:
        arrived_s = began_s - ARRIVAL_S
        taken = sum([request.picked_s < arrived_s for request in load.in_flight.values()])
    candidate.window_requests = next_window(window, running, waiting, taken)


def count_others(load: EndpointLoad) -> None:
    """Requests of others: what the engine reports beyond ours, or what the other pickers say they have there."""
    peers = sum([peer.requests for peer in load.peers.values()]) if load.peers else 0
    reported = load.reported_others
    load.candidate.others = max(reported, peers) if reported is not None else peers or None


def count_peer(load: EndpointLoad, replica: str, peer: PeerLoad, now_s: float) -> None:
    """Take over what another picker says it has there."""
    before = load.peers.get(replica, NO_LOAD)
    candidate = load.candidate
    candidate.in_flight_tokens += peer.tokens - before.tokens
    known = 0.0 < before.sent_tokens <= peer.sent_tokens
    # Of a peer that is heard for the first time, no more can be waiting than what it has in flight.
    fresh = peer.sent_tokens - before.sent_tokens if known else min(peer.sent_tokens, peer.tokens)
    if fresh > 0:
        if candidate.prefill_backlog_tokens:
            work_off(load, now_s)
        candidate.prefill_backlog_tokens += fresh
        load.backlog_at_s = now_s
    # What it has sent in all is kept while it has nothing there: the next difference needs it.
    if peer.requests or peer.sent_tokens:
        load.peers[replica] = peer
    else:
        load.peers.pop(replica, None)
    settle_backlog(load)
    count_others(load)


def settle_backlog(load: EndpointLoad) -> None:
    """An endpoint at which no picker has a request has no prompts to compute."""
    if not load.in_flight and not any([peer.requests for peer in load.peers.values()]):
        load.candidate.prefill_backlog_tokens = 0.0


def forget_signals(load: EndpointLoad) -> None:
    """What the engine reported is too old."""
    candidate = load.candidate
    load.reported_others = None
    candidate.running = candidate.waiting = candidate.kv_cache_usage_ratio = candidate.running_adapters = None
    candidate.waiting_adapters = frozenset()
    count_others(load)


def work_off(load: EndpointLoad, now_s: float) -> None:
    """The endpoint has gone on computing prompts since its backlog was last right."""
    candidate = load.candidate
    token_s = candidate.speed.prefill_token_s if candidate.speed is not None else UNKNOWN_PREFILL_TOKEN_S
    elapsed_s = max(0.0, now_s - load.backlog_at_s)
    done = elapsed_s / token_s if token_s > 0 else candidate.prefill_backlog_tokens
    candidate.prefill_backlog_tokens = max(0.0, candidate.prefill_backlog_tokens - done)
    load.backlog_at_s = now_s
