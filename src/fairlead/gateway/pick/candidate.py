"""What a decision sees of an endpoint, and what a decision is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint at the moment of a decision."""

    address: str
    in_flight: int
    """Requests this gateway has sent there and not seen end."""
    others: int | None
    """Further requests that the engine reports as running or waiting; None = unknown or stale."""
    kv_cache_usage_ratio: float | None = None
    """From 0 to 1; None = unknown or stale."""
    reachable: bool = True
    """False when the last attempt to connect to it failed."""
    last_pick: int = 0
    """Sequence number of the last request it got; 0 = none yet."""


@dataclass(frozen=True, slots=True)
class Pick:
    """The endpoint, the ones to try when it refuses the connection, and why, for people."""

    address: str
    fallbacks: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class NoPick:
    """No endpoint can take the request: `code` is machine-readable, `message` names what is missing."""

    code: str
    message: str
