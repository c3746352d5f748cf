"""The speed of each endpoint, learned from requests that ended there. No I/O and no clock.

    TTFT = overhead + prefill time per token x own uncached tokens + nuisance x tokens before it + time x requests there
    ITL  = base + time per request x requests there

The tokens before a request are an estimate that itself rests on the learned speed; they get a coefficient of their own,
which is not used, so that an error in the one cannot feed the other.

An endpoint begins with what its likes have shown (endpoints of the same kind: same pool, same hardware), and keeps
learning: an engine that was restarted elsewhere, or is throttled, is known for it within some tens of requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from fairlead.gateway.latency.least_squares import NonNegativeLeastSquares
from fairlead.gateway.load import InFlight
from fairlead.gateway.pick import Speed

FORGETTING = 0.98
"""An observation has lost two thirds of its weight after 50 more."""

LIKES_FROM_OBSERVATIONS = 8
"""Requests an endpoint must have served before others begin with its speed."""

RELAX_AFTER_S = 120.0
"""An endpoint that was not heard of for this long drifts to the speed of its likes; what made it slow may be over."""

_RELAX = 0.2
"""How far it drifts at each call of `relax`."""

_KILOTOKENS = 1e-3
_TENS = 0.1
"""Inputs are scaled to be of the order of 1."""

_TTFT_PRIOR = (0.02, 0.1, 0.05, 0.01)
"""Seconds: overhead, for 1,000 own tokens, for 1,000 tokens before it, for 10 requests. An 8B model, roughly."""

_ITL_PRIOR = (0.01, 0.002)
"""Seconds: base, for 10 requests."""

_LEAST_TTFT_S, _LEAST_ITL_S = 0.005, 0.001
_LONGEST_S = 3600.0


class _Learned:
    """What was learned of one endpoint."""

    __slots__ = ("heard_s", "itl", "kind", "speed", "ttft")

    def __init__(self, kind: str, ttft_prior: Sequence[float], itl_prior: Sequence[float]) -> None:
        self.kind = kind
        self.ttft = NonNegativeLeastSquares([max(p, 1e-4) for p in ttft_prior], forgetting=FORGETTING)
        self.itl = NonNegativeLeastSquares([max(p, 1e-5) for p in itl_prior], forgetting=FORGETTING)
        self.speed = Speed(0.0, 0.0, 0.0, 0.0)
        self.heard_s = 0.0
        self.publish()

    def publish(self) -> Speed:
        """The coefficients in the units of `Speed`, in place: a candidate that has it sees it change."""
        overhead, own, _, requests = self.ttft.coefficients
        base, itl_requests = self.itl.coefficients
        speed = self.speed
        speed.overhead_s, speed.prefill_token_s = overhead, own * _KILOTOKENS
        speed.ttft_request_s = requests * _TENS
        speed.itl_base_s, speed.itl_request_s = base, itl_requests * _TENS
        speed.observations = max(self.ttft.observations, self.itl.observations)
        return speed


class LatencyPredictor:
    """Speeds by address."""

    def __init__(self) -> None:
        self._learned: dict[str, _Learned] = {}
        self._kinds: dict[str, str] = {}

    def describe(self, address: str, kind: str) -> None:
        """Which endpoints it is like: those of the same `kind`, such as pool and hardware. Without this: all."""
        if self._kinds.get(address, "") != kind:
            self._kinds[address] = kind
            # A new kind at an old address is another engine.
            self._learned.pop(address, None)

    def speed_of(self, address: str) -> Speed | None:
        """What is known of an endpoint; of one that has served nothing yet, what its likes have shown."""
        learned = self._learned.get(address)
        if learned is not None:
            return learned.speed
        kind = self._kinds.get(address, "")
        if not self._likes(kind):
            return None
        return _Learned(kind, *self._prior(kind)).speed

    def observe(
        self, request: InFlight, ttft_s: float | None, itl_s: float | None, *, cached_tokens: int | None = None
    ) -> Speed | None:
        """Learn from a request that has ended; returns the endpoint's speed.

        `cached_tokens` is what the engine says it found in its prefix cache; None = as was believed. Times that cannot
        be (negative, infinite, over an hour) are left out.
        """
        learned = self._learned.get(request.address)
        if learned is None:
            kind = self._kinds.get(request.address, "")
            learned = self._learned[request.address] = _Learned(kind, *self._prior(kind))
        requests = request.running_then * _TENS
        if ttft_s is not None and 0.0 < ttft_s < _LONGEST_S:
            uncached = request.uncached_tokens
            if cached_tokens is not None:
                uncached = max(0, request.prompt_tokens - cached_tokens)
            backlog = request.backlog_then if isfinite(request.backlog_then) else 0.0
            inputs = (1.0, uncached * _KILOTOKENS, backlog * _KILOTOKENS, requests)
            learned.ttft.observe(inputs, ttft_s, _LEAST_TTFT_S)
        if itl_s is not None and 0.0 < itl_s < _LONGEST_S:
            learned.itl.observe((1.0, requests + _TENS), itl_s, _LEAST_ITL_S)
        learned.heard_s = max(learned.heard_s, request.picked_s)
        return learned.publish()

    def relax(self, now_s: float) -> None:
        """Let endpoints of which nothing was heard for long drift to their likes. To be called every minute or so."""
        for address, learned in self._learned.items():
            if now_s - learned.heard_s < RELAX_AFTER_S or not self._likes(learned.kind, address):
                continue
            ttft, itl = self._prior(learned.kind, address)
            for line, prior in ((learned.ttft, ttft), (learned.itl, itl)):
                line.coefficients = [c + _RELAX * (p - c) for c, p in zip(line.coefficients, prior, strict=True)]
            learned.publish()

    def forget(self, address: str) -> None:
        """The endpoint exists no more."""
        self._learned.pop(address, None)
        self._kinds.pop(address, None)

    def _likes(self, kind: str, but: str = "") -> list[_Learned]:
        return [
            learned
            for address, learned in self._learned.items()
            if learned.kind == kind and address != but and learned.speed.observations >= LIKES_FROM_OBSERVATIONS
        ]

    def _prior(self, kind: str, but: str = "") -> tuple[Sequence[float], Sequence[float]]:
        """The mean of its likes, or what any engine might be."""
        likes = self._likes(kind, but)
        if not likes:
            return _TTFT_PRIOR, _ITL_PRIOR
        return _mean([e.ttft.coefficients for e in likes]), _mean([e.itl.coefficients for e in likes])


def _mean(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
