"""What a gateway policy is to the fleet, and what it is told.

A policy sees what the live gateway would see and nothing else: the replicas that are ready, what their engines report
when they are scraped, what can be read from a request before it is served, and the ends of requests when the access log
tells of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fairlead.engines import EngineSignals
from fairlead.gateway.pick import Candidate, NoPick
from fairlead.simulator.fleet.asked import Asked


class Seen(Protocol):
    """A ready replica as a policy sees it."""

    @property
    def address(self) -> str:
        """Its name."""
        ...

    def candidate(self, now_s: float) -> Candidate:
        """Its load for policies that do not watch: requests in flight exactly, the rest from the last scrape."""
        ...


class Decision(NamedTuple):
    """Where a request goes. `pick_id` is what the policy wants to hear of its end under."""

    address: str
    pick_id: str = ""


class End(NamedTuple):
    """A request that was answered, as the access log has it."""

    ttft_s: float | None
    """From the pick to the first token; None where the answer came as one piece, or does not begin here (decode after a
    hand-off)."""
    itl_s: float | None
    """Mean time between tokens; None for fewer than two."""
    output_tokens: int
    whole_s: float
    """From the pick to the last token."""


class Policy(Protocol):
    """Decides for one fleet. One that does not watch is only asked for decisions, without being told who asks."""

    watches: bool
    """Whether it is told of requests, reports and ends."""

    def pick(self, now_s: float, asked: Asked | None, seen: Sequence[Seen]) -> Decision | NoPick:
        """Where a request goes."""
        ...

    def reported(self, address: str, signals: EngineSignals, at_s: float) -> float:
        """An engine was scraped; returns the seconds until it is scraped again."""
        ...

    def ended(self, pick_id: str, end: End | None) -> None:
        """A request is over; without `end` it broke off."""
        ...

    def gone(self, address: str) -> None:
        """A replica has died or left."""
        ...
