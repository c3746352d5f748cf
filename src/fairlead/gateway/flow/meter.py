"""What flow control tells of itself while it works. Whoever keeps metrics implements it."""

from __future__ import annotations

from typing import Protocol

from fairlead.gateway.flow.item import Reason


class FlowMeter(Protocol):
    """Called for requests that waited or were refused. Those that went on at once are many, and counted in
    `FlowControl.dispatched_at_once`."""

    def waiting(self, pool: str, priority: int, requests: int, size_bytes: int) -> None:
        """How much waits at a priority, after a change."""
        ...

    def sent(self, pool: str, priority: int, waited_s: float) -> None:
        """A request that waited goes on."""
        ...

    def refused(self, pool: str, priority: int, reason: Reason, waited_s: float) -> None:
        """A request is answered by the gateway, or its client has gone; `waited_s` is 0 when it never waited."""
        ...
