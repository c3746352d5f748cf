"""A request as flow control sees it, and how it may leave flow control."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, NamedTuple


class Reason(StrEnum):
    """Why a request was not sent to an engine, as the dropped-reason header has it. Rejected requests never waited or
    waited in vain; evicted ones lost their place to another request."""

    SATURATED = "rejected-saturated"
    NO_ENDPOINTS = "rejected-no-endpoints"
    TTL_EXPIRED = "rejected-ttl-expired"
    CONTEXT_CANCELLED = "rejected-context-cancelled"
    SHUTTING_DOWN = "rejected-shutting-down"
    EVICTED_QUEUE_PRESSURE = "evicted-queue-pressure"
    EVICTED_PRIORITY = "evicted-priority"


UNAVAILABLE = frozenset({Reason.NO_ENDPOINTS, Reason.SHUTTING_DOWN})
"""Reasons that are answered with 503; all others with 429."""


@dataclass(slots=True, eq=False)
class Item:
    """A request that asks for its turn. The fields below `payload` belong to flow control."""

    priority: int = 0
    """Higher goes first; below 0 may be shed."""
    fairness_id: str = ""
    """The tenant: whose turn it is among equals in priority."""
    tokens: float = 1.0
    """What it costs an engine: prompt tokens and answer tokens to be expected."""
    size_bytes: int = 0
    """Memory it holds while it waits."""
    deadline_s: float | None = None
    """Monotonic time by which its first token is due; None = no objective was given."""
    ttl_s: float | None = None
    """How long its client is ready to wait; None = as long as the gateway lets it."""
    payload: Any = None

    number: int = 0
    queued_s: float = 0.0
    give_up_s: float = 0.0
    """Monotonic time after which it waits no longer, whatever the pool does."""
    expires_s: float = 0.0
    """Monotonic time until which it waits as things are; never after `give_up_s`."""
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """The answer that a request gets in place of an engine's."""

    item: Item
    reason: Reason
    message: str
    """A sentence for the client: what is full or missing, and what to do."""
    retry_after_s: int

    @property
    def status(self) -> int:
        """HTTP status."""
        return 503 if self.reason in UNAVAILABLE else 429


class Outcome(Enum):
    DISPATCH = "dispatch"
    QUEUED = "queued"
    REJECTED = "rejected"


class Verdict(NamedTuple):
    """What becomes of a request at once, and which queued ones had to make room for it."""

    outcome: Outcome
    rejection: Rejection | None = None
    evicted: tuple[Rejection, ...] = ()


DISPATCH = Verdict(Outcome.DISPATCH)
QUEUED = Verdict(Outcome.QUEUED)
