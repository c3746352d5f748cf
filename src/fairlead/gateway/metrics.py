"""Metrics of the picker, all under the prefix `fairlead_gateway_`. Labels are pools and reasons: bounded sets.

A request's model name is never a label: clients choose it.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fairlead.gateway.endpoints import Registry
from fairlead.gateway.errors import Reply
from fairlead.gateway.load import LoadTable
from fairlead.gateway.route import Completion, Route

_DECISION_BUCKETS_S = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1)
_REQUEST_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 500)


class GatewayMetrics:
    """Counters that the picker feeds, and gauges read from its state when asked."""

    def __init__(self, registry: Registry, loads: LoadTable) -> None:
        self._endpoints = registry
        self._loads = loads
        self._prometheus = CollectorRegistry()
        prefix = "fairlead_gateway_"

        def counter(name: str, help: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(prefix + name, help, labels, registry=self._prometheus)

        def gauge(name: str, help: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(prefix + name, help, labels, registry=self._prometheus)

        def histogram(name: str, help: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(prefix + name, help, labels, buckets=buckets, registry=self._prometheus)

        self._routed = counter("requests_routed", "Requests sent to an endpoint.", ("pool",))
        self._answered = counter("requests_answered", "Requests the gateway answered itself.", ("reason", "code"))
        self._completed = counter("requests_completed", "Routed requests that ended.", ("code_class",))
        self._retried = counter("connect_retries", "Requests that went to a fallback endpoint.")
        self._decision_s = histogram(
            "decision_duration_seconds", "From the whole body to the decision.", _DECISION_BUCKETS_S
        )
        self._request_s = histogram(
            "request_duration_seconds", "Whole duration of routed requests, as Envoy saw it.", _REQUEST_BUCKETS_S
        )
        self._first_byte_s = histogram(
            "first_byte_duration_seconds", "From a request's first byte to its answer's.", _REQUEST_BUCKETS_S
        )
        self.scrapes = counter("scrapes", "Scrapes of engines.", ("outcome",))
        self._in_flight = gauge("in_flight_requests", "Routed requests that have not ended.", ("pool",))
        self._ready = gauge("endpoints", "Ready endpoints, by what is known of them.", ("pool", "state"))

    def decided(self, outcome: Route | Reply, duration_s: float) -> None:
        self._decision_s.observe(duration_s)
        if isinstance(outcome, Route):
            self._routed.labels(outcome.pool).inc()
        else:
            self._answered.labels(outcome.reason, str(outcome.status)).inc()

    def ended(self, completion: Completion) -> None:
        self.completed(completion.code, completion.duration_s, completion.first_byte_s, completion.attempts)

    def completed(self, code: int, duration_s: float, first_byte_s: float | None, attempts: int) -> None:
        self._completed.labels(f"{code // 100}xx" if code else "none").inc()
        self._request_s.observe(duration_s)
        if first_byte_s is not None:
            self._first_byte_s.observe(first_byte_s)
        if attempts > 1:
            self._retried.inc(attempts - 1)

    def page(self, now_s: float) -> bytes:
        """The page in Prometheus text format; `now_s` is the monotonic time for judging staleness."""
        self._in_flight.clear()
        self._ready.clear()
        for pool in self._endpoints.pools.values():
            loads = [self._loads.of(e.address) for e in pool.endpoints]
            self._in_flight.labels(pool.key).set(sum(len(load.in_flight) for load in loads))
            states = ["unreachable" if not ld.reachable else "stale" if ld.is_stale(now_s) else "ok" for ld in loads]
            for state in ("ok", "stale", "unreachable"):
                self._ready.labels(pool.key, state).set(states.count(state))
        return generate_latest(self._prometheus)
