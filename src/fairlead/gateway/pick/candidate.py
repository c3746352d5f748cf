"""What a decision sees of an endpoint, and what a decision is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Speed:
    """What was learned of how fast an endpoint computes; times in seconds.

    Time to first token = `overhead_s` + `prefill_token_s` for each uncached prompt token, its own and those before it
    + `ttft_request_s` for each request in the batch.
    Time between tokens = `itl_base_s` + `itl_request_s` for each request in the batch.
    """

    overhead_s: float
    prefill_token_s: float
    itl_base_s: float
    itl_request_s: float
    ttft_request_s: float = 0.0
    observations: int = 0
    """Requests it was learned from; 0 = a prior."""


@dataclass(slots=True)
class Candidate:
    """An endpoint at the moment of a decision. Its owner keeps it up to date; decisions read it and never write."""

    address: str
    in_flight: int = 0
    """Requests this gateway has sent there and not seen end."""
    others: int | None = None
    """Further requests that the engine reports as running or waiting; None = unknown or stale."""
    kv_cache_usage_ratio: float | None = None
    """From 0 to 1; None = unknown or stale."""
    reachable: bool = True
    """False when the last attempt to connect to it failed."""
    last_pick: int = 0
    """Sequence number of the last request it got; 0 = none yet."""
    role: str = "both"
    """What it does of a request: both, prefill, decode, encode, prefill-decode, encode-prefill."""
    running: int | None = None
    """Requests in the engine's batch at its last report; None = unknown or stale."""
    waiting: int | None = None
    """Requests in the engine's queue at its last report; None = unknown or stale."""
    kv_capacity_tokens: int | None = None
    """Size of its KV cache; None = the engine does not say."""
    prefill_backlog_tokens: float = 0.0
    """Prompt tokens not in its prefix cache that it was sent and has, by its learned speed, not computed yet."""
    in_flight_tokens: int = 0
    """Prompt tokens, and answer tokens to be expected, of the requests this gateway has in flight there."""
    running_adapters: frozenset[str] | None = None
    """Adapters in use at its last report, and those this gateway has sent there since; None = unknown."""
    waiting_adapters: frozenset[str] = frozenset()
    """Adapters that requests in its queue wait for."""
    max_adapters: int | None = None
    """Adapter slots; None = unknown."""
    loaded_adapters: dict[str, None] = field(default_factory=dict)
    """Adapters it was last sent, as many as it has slots, the latest last: an idle one stays loaded until others need
    its slot, of which engines report nothing."""
    speed: Speed | None = None
    """None = nothing is known, not even of endpoints like it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of its pod."""
    pod: str = ""
    """namespace/name of its pod; empty = unknown."""
    adapters: frozenset[str] | None = None
    """Adapters that are loaded there, as its pod says; None = its pool does not tell by pod, any may be."""
    last_cold_pick: int = 0
    """Sequence number of the last request it got of whose prompt no endpoint held anything; 0 = none yet."""
    window_requests: int | None = None
    """How many requests may be there until a report shows that they all run (`room.next_window`); None = any number."""


@dataclass(frozen=True, slots=True)
class Pick:
    """The endpoint, the ones to try when it refuses the connection, and why, for people."""

    address: str
    fallbacks: tuple[str, ...]
    reason: str
    prefill: str = ""
    """Where the prompt is to be computed first, when that is not `address`."""


@dataclass(frozen=True, slots=True)
class NoPick:
    """No endpoint can take the request: `code` is machine-readable, `message` names what is missing."""

    code: str
    message: str
