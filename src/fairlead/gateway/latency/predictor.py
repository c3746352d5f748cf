"""The speed of each endpoint, learned from requests that ended there. No I/O and no clock.

    TTFT = factor x (overhead + prefill time per token x own uncached tokens + nuisance x tokens before it
                     + time x requests there)
    ITL  = factor x (base + time per request x requests there)

Endpoints of a kind (same pool and model) share the lines in brackets; each endpoint has two factors of its own, which
tell one machine from another. A line needs hundreds of observations of different requests before its slopes can be
relied on, a factor some tens of any requests. Were every endpoint given a line of its own, the errors of equal machines
would differ, and routing by least cost would send everything to where the error is most in its favour: on a fleet of
equal machines that cost a third of the prefix hits and ten times the 99th percentile of TTFT.

A factor is the mean of ln(observed / line) with a slow memory, and drawn to the mean of its kind as far as the factors
of the kind differ no more than those of equal machines would. When the latest observations are far from it (a machine
was throttled, or replaced by another under its address) it begins anew with them.

The tokens before a request are an estimate that itself rests on the learned speed; they get a coefficient of their own,
which is not used, so that an error in the one cannot feed the other.
"""

from __future__ import annotations

from math import exp, isfinite, log

from fairlead.gateway.latency.least_squares import NonNegativeLeastSquares
from fairlead.gateway.load import InFlight
from fairlead.gateway.pick import Speed

FORGETTING = 0.98
"""An observation has lost two thirds of its weight after 50 more per endpoint of the kind."""

LIKES_FROM_OBSERVATIONS = 8
"""Requests a kind must have served before endpoints that have served none begin with its speed."""

RELAX_AFTER_S = 120.0
"""An endpoint that was not heard of for this long drifts to the speed of its likes; what made it slow may be over."""

_RELAX = 0.2
"""How far it drifts at each call of `relax`."""

_MEMORY = 1.0 - 1.0 / 300.0
_DRAWN = 5.0
"""Observations by which a factor is drawn to 1."""
_ALIKE = 0.08
"""Standard deviation of ln(observed / line) among equal machines, by what they had to serve."""
_UNCERTAIN = 0.3
"""Standard deviation of ln(observed / line), roughly."""
_CLIP = 2.0
"""Largest |ln(observed / line)| that counts: a request that hung is no measure of a machine."""
_FAST = 0.08
_NEW_FROM = 0.6
"""How far the latest observations must be from the factor, in ln, for it to begin anew."""
_NEW_WEIGHT = 10.0

_KILOTOKENS = 1e-3
_TENS = 0.1
"""Inputs are scaled to be of the order of 1."""

_TTFT_PRIOR = (0.02, 0.1, 0.05, 0.01)
"""Seconds: overhead, for 1,000 own tokens, for 1,000 tokens before it, for 10 requests. An 8B model, roughly."""

_ITL_PRIOR = (0.01, 0.002)
"""Seconds: base, for 10 requests."""

_LEAST_TTFT_S, _LEAST_ITL_S = 0.005, 0.001
_LONGEST_S = 3600.0


class _Factor:
    """By how much an endpoint's times are longer than its kind's."""

    __slots__ = ("_latest", "_sum", "_weight")

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0
        self._latest = 0.0

    @property
    def log(self) -> float:
        """ln of the factor, drawn to 0 while there are few observations."""
        return self._sum / (self._weight + _DRAWN)

    @property
    def variance(self) -> float:
        """Of the logarithm."""
        return _UNCERTAIN * _UNCERTAIN / (self._weight + _DRAWN)

    def observe(self, error: float) -> None:
        """One ln(observed / line)."""
        error = max(-_CLIP, min(_CLIP, error))
        self._sum = self._sum * _MEMORY + error
        self._weight = self._weight * _MEMORY + 1.0
        if self._weight <= _NEW_WEIGHT:
            self._latest = self._sum / self._weight
        else:
            self._latest += _FAST * (error - self._latest)
            if abs(self._latest - self._sum / self._weight) > _NEW_FROM:
                self._weight = _NEW_WEIGHT
                self._sum = self._latest * _NEW_WEIGHT

    def relax(self, share: float) -> None:
        """Drift to 1."""
        self._sum *= 1.0 - share
        self._latest *= 1.0 - share


class _Spread:
    """How much of what factors differ by is taken for true: all but what equal machines would differ by, too.

    The positive part of the estimator of James and Stein (Efron and Morris, 1973): values v_i with errors of variance e
    are drawn to their mean m, m + max(0, 1 - e / variance of the v) (v_i - m).
    """

    __slots__ = ("mean", "share")

    def __init__(self) -> None:
        self.mean = 0.0
        self.share = 0.0

    def observe(self, factors: list[_Factor]) -> None:
        """All factors of a kind."""
        values = [f.log for f in factors]
        self.mean = sum(values) / len(values)
        variance = sum([(v - self.mean) ** 2 for v in values]) / len(values)
        error = _ALIKE * _ALIKE + sum([f.variance for f in factors]) / len(factors)
        self.share = max(0.0, 1.0 - error / variance) if variance > 0.0 else 0.0

    def factor(self, own: _Factor) -> float:
        """By how much the times of the endpoint are taken to be longer."""
        return exp(self.mean + self.share * (own.log - self.mean))


class _Endpoint:
    """What was learned of one endpoint."""

    __slots__ = ("heard_s", "itl", "speed", "ttft")

    def __init__(self) -> None:
        self.ttft = _Factor()
        self.itl = _Factor()
        self.speed = Speed(0.0, 0.0, 0.0, 0.0)
        self.heard_s = 0.0


class _Kind:
    """What was learned of endpoints that are alike."""

    __slots__ = ("endpoints", "itl", "itl_spread", "observations", "ttft", "ttft_spread", "unpublished")

    def __init__(self) -> None:
        self.ttft = NonNegativeLeastSquares(_TTFT_PRIOR, forgetting=FORGETTING)
        self.itl = NonNegativeLeastSquares(_ITL_PRIOR, forgetting=FORGETTING)
        self.ttft_spread = _Spread()
        self.itl_spread = _Spread()
        self.endpoints: dict[str, _Endpoint] = {}
        self.observations = 0
        self.unpublished = 0

    def learn(self, endpoint: _Endpoint, times: tuple[tuple[float, ...], float], *, first: bool) -> None:
        """One time to first token (or between tokens) with its inputs."""
        inputs, value = times
        if first:
            line, spread, own = self.ttft, self.ttft_spread, endpoint.ttft
        else:
            line, spread, own = self.itl, self.itl_spread, endpoint.itl
        least = _LEAST_TTFT_S if first else _LEAST_ITL_S
        count = len(self.endpoints)
        if count > 1:
            expected = sum([c * x for c, x in zip(line.coefficients, inputs, strict=True)])
            own.observe(log(max(value, least) / max(expected, least)))
            factor = spread.factor(own)
            inputs = tuple([x * factor for x in inputs])
        line.forgetting = 1.0 - (1.0 - FORGETTING) / count
        line.observe(inputs, value, least)

    def learn_whole(
        self, endpoint: _Endpoint, ttft: tuple[float, ...], itl: tuple[float, ...], answer_tokens: float, value: float
    ) -> None:
        """One time from the pick to the last token: it tells how fast a machine is, and not with what."""
        expected = sum([c * x for c, x in zip(self.ttft.coefficients, ttft, strict=True)])
        expected += answer_tokens * sum([c * x for c, x in zip(self.itl.coefficients, itl, strict=True)])
        error = log(value / max(expected, _LEAST_TTFT_S))
        endpoint.ttft.observe(error)
        endpoint.itl.observe(error)

    def publish(self, endpoint: _Endpoint) -> None:
        """The speed of an endpoint, in place: a candidate that has it sees it change."""
        overhead, own, _, requests = self.ttft.coefficients
        base, itl_requests = self.itl.coefficients
        ttft, itl = self.ttft_spread.factor(endpoint.ttft), self.itl_spread.factor(endpoint.itl)
        speed = endpoint.speed
        speed.overhead_s, speed.prefill_token_s = ttft * overhead, ttft * own * _KILOTOKENS
        speed.ttft_request_s = ttft * requests * _TENS
        speed.itl_base_s, speed.itl_request_s = itl * base, itl * itl_requests * _TENS

    def publish_all(self) -> None:
        self.unpublished = 0
        endpoints = self.endpoints.values()
        self.ttft_spread.observe([e.ttft for e in endpoints])
        self.itl_spread.observe([e.itl for e in endpoints])
        for endpoint in endpoints:
            self.publish(endpoint)


class LatencyPredictor:
    """Speeds by address."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._kind_of: dict[str, str] = {}

    def describe(self, address: str, kind: str) -> None:
        """Which endpoints it is like: those of the same `kind`, such as pool and model. Without this: all."""
        if self._kind_of.get(address, "") != kind:
            # A new kind at an old address is another engine.
            self.forget(address)
            self._kind_of[address] = kind

    def speed_of(self, address: str) -> Speed | None:
        """What is known of an endpoint; of one that has served nothing yet, what its likes have shown."""
        kind = self._kinds.get(self._kind_of.get(address, ""))
        if kind is None:
            return None
        endpoint = kind.endpoints.get(address)
        if endpoint is not None:
            return endpoint.speed
        if kind.observations < LIKES_FROM_OBSERVATIONS:
            return None
        like = _Endpoint()
        kind.publish(like)
        return like.speed

    def observe(
        self, request: InFlight, ttft_s: float | None, itl_s: float | None, *, cached_tokens: int | None = None,
        whole_s: float | None = None, output_tokens: int | None = None,
    ) -> Speed | None:  # fmt: skip
        """Learn from a request that has ended; returns the endpoint's speed.

        `cached_tokens` is what the engine says it found in its prefix cache; None = as was believed. Of answers that
        come as one piece neither time is known, but `whole_s`, from the pick to the end, and `output_tokens` (None = as
        was expected). Times that cannot be (negative, infinite, over an hour) are left out.
        """
        kind = self._kind(self._kind_of.get(request.address, ""))
        endpoint = kind.endpoints.get(request.address)
        if endpoint is None:
            endpoint = kind.endpoints[request.address] = _Endpoint()
        uncached = request.uncached_tokens
        if cached_tokens is not None:
            uncached = max(0, request.prompt_tokens - cached_tokens)
        backlog = request.backlog_then if isfinite(request.backlog_then) else 0.0
        requests = request.running_then * _TENS
        inputs = (1.0, uncached * _KILOTOKENS, backlog * _KILOTOKENS, requests)
        gaps = (1.0, requests + _TENS)
        if ttft_s is not None and 0.0 < ttft_s < _LONGEST_S:
            kind.learn(endpoint, (inputs, ttft_s), first=True)
        if itl_s is not None and 0.0 < itl_s < _LONGEST_S:
            kind.learn(endpoint, (gaps, itl_s), first=False)
        if ttft_s is None and itl_s is None and whole_s is not None and 0.0 < whole_s < _LONGEST_S:
            answer = request.output_tokens if output_tokens is None else output_tokens
            kind.learn_whole(endpoint, inputs, gaps, answer, whole_s)
        endpoint.heard_s = max(endpoint.heard_s, request.picked_s)
        endpoint.speed.observations += 1
        kind.observations += 1
        kind.unpublished += 1
        if kind.unpublished >= len(kind.endpoints):
            kind.publish_all()
        else:
            kind.publish(endpoint)
        return endpoint.speed

    def relax(self, now_s: float) -> None:
        """Let endpoints of which nothing was heard for long drift to their likes. To be called every minute or so."""
        for kind in self._kinds.values():
            for endpoint in kind.endpoints.values():
                if now_s - endpoint.heard_s >= RELAX_AFTER_S and len(kind.endpoints) > 1:
                    endpoint.ttft.relax(_RELAX)
                    endpoint.itl.relax(_RELAX)
                    kind.publish(endpoint)

    def forget(self, address: str) -> None:
        """The endpoint exists no more. What it has shown of its kind stays."""
        name = self._kind_of.pop(address, "")
        kind = self._kinds.get(name)
        if kind is not None and kind.endpoints.pop(address, None) is not None and not kind.endpoints:
            del self._kinds[name]

    def _kind(self, name: str) -> _Kind:
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind()
        return kind
