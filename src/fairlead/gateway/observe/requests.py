"""Series of requests by pool, model, target, tenant and priority: the one place a request's life is counted."""

from __future__ import annotations

from typing import NamedTuple

from fairlead.gateway.observe.series import (
    BYTE_BOUNDS,
    LATENCY_BOUNDS_S,
    RATIO_BOUNDS,
    TOKEN_BOUNDS,
    TOKEN_TIME_BOUNDS_S,
    Capped,
    Distribution,
)
from fairlead.gateway.route import Completion

MAX_MODELS = 1000
MAX_TENANTS = 200
MAX_SERIES = 2000
"""Combinations of labels; later ones are counted together, per pool. Each is two hundred lines of the metrics page."""


class RequestLabels(NamedTuple):
    pool: str
    model: str
    target: str
    tenant: str
    priority: int


class RequestSeries:
    """What happened to the requests of one combination of labels."""

    __slots__ = (
        "cached_tokens", "codes", "connect_retries", "duration_s", "errors", "input_tokens", "itl_s", "labels",
        "match_ratio", "output_tokens", "request_bytes", "routed", "running", "ttft_s",
    )  # fmt: skip

    def __init__(self, labels: RequestLabels) -> None:
        self.labels = labels
        self.routed = 0
        self.running = 0
        self.connect_retries = 0
        self.errors: dict[str, int] = {}  # error code -> requests
        self.codes: dict[str, int] = {}  # class of the status, as 2xx -> requests that ended
        self.request_bytes = Distribution(BYTE_BOUNDS)
        self.input_tokens = Distribution(TOKEN_BOUNDS)
        self.output_tokens = Distribution(TOKEN_BOUNDS)
        self.cached_tokens = Distribution(TOKEN_BOUNDS)
        self.match_ratio = Distribution(RATIO_BOUNDS)
        self.duration_s = Distribution(LATENCY_BOUNDS_S)
        self.ttft_s = Distribution(LATENCY_BOUNDS_S)
        self.itl_s = Distribution(TOKEN_TIME_BOUNDS_S)

    def goes(self, body_bytes: int, prompt_tokens: int, matched_tokens: int) -> None:
        """A request was sent to an endpoint."""
        self.routed += 1
        self.running += 1
        self.request_bytes.add(body_bytes)
        if prompt_tokens:
            self.match_ratio.add(min(1.0, matched_tokens / prompt_tokens))

    def refused(self, code: str) -> None:
        """The gateway answered it itself."""
        self.errors[code] = self.errors.get(code, 0) + 1

    def ended(self, end: Completion, itl_s: float | None, *, counted: bool = True) -> None:
        """A request that was sent is over. `counted`: it is among those that run."""
        self.running -= counted
        code = f"{end.code // 100}xx" if end.code else "none"
        self.codes[code] = self.codes.get(code, 0) + 1
        self.duration_s.add(end.duration_s)
        if end.attempts > 1:
            self.connect_retries += end.attempts - 1
        if end.first_byte_s is not None:
            self.ttft_s.add(end.first_byte_s)
        if end.code >= 400 or not end.code:
            self.refused("client_closed" if end.client_left else "endpoint_died" if end.died else str(end.code))
        if end.prompt_tokens is not None:
            self.input_tokens.add(end.prompt_tokens)
        if end.output_tokens is not None:
            self.output_tokens.add(end.output_tokens)
        if end.cached_tokens is not None:
            self.cached_tokens.add(end.cached_tokens)
        if itl_s is not None:
            self.itl_s.add(itl_s)


class RequestCounts:
    """All series, by labels. What clients choose is capped, so the number of series is bounded."""

    def __init__(self) -> None:
        self.all: dict[RequestLabels, RequestSeries] = {}
        self._found: dict[tuple[str, str, str, str, int], RequestSeries] = {}
        self._model = Capped(MAX_MODELS)
        self._tenant = Capped(MAX_TENANTS)

    def of(self, pool: str, model: str, target: str, tenant: str, priority: int) -> RequestSeries:
        """The series to count a request in."""
        asked = (pool, model, target, tenant, priority)
        series = self._found.get(asked)
        if series is None:
            series = self._make(*asked)
            if len(self._found) < 2 * MAX_SERIES:
                self._found[asked] = series
        return series

    def forget_pool(self, pool: str) -> None:
        """The pool exists no more."""
        self.all = {labels: series for labels, series in self.all.items() if labels.pool != pool}
        self._found = {asked: series for asked, series in self._found.items() if asked[0] != pool}

    def _make(self, pool: str, model: str, target: str, tenant: str, priority: int) -> RequestSeries:
        labels = RequestLabels(pool, self._model(model), self._model(target), self._tenant(tenant), priority)
        if labels not in self.all and len(self.all) >= MAX_SERIES:
            labels = RequestLabels(pool, "other", "other", "other", 0)
        series = self.all.get(labels)
        if series is None:
            series = self.all[labels] = RequestSeries(labels)
        return series
