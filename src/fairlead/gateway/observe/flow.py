"""What flow control did: waits by outcome, and what is queued now. A `flow.FlowMeter`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from fairlead.gateway.flow import Reason
from fairlead.gateway.observe.series import Distribution, HistogramFamily

WAIT_BOUNDS_S = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
MAX_SERIES = 4000

_LLM_D_OUTCOMES = {
    Reason.SATURATED: "RejectedCapacity",
    Reason.NO_ENDPOINTS: "EvictedNoEndpoints",
    Reason.TTL_EXPIRED: "EvictedTTL",
    Reason.CONTEXT_CANCELLED: "EvictedContextCancelled",
    Reason.SHUTTING_DOWN: "RejectedOther",
    Reason.EVICTED_QUEUE_PRESSURE: "EvictedOther",
    Reason.EVICTED_PRIORITY: "EvictedOther",
}
_SENT = "Dispatched"


class FlowCounts:
    """Waits of requests that flow control has let go, refused or lost, and what waits now. Labels are pools, priorities
    and outcomes; tenants, which clients choose, are not among them."""

    def __init__(self) -> None:
        self.waits: dict[tuple[str, int, str], Distribution] = {}  # pool, priority, outcome -> seconds
        self.dropped: dict[tuple[str, str], int] = {}  # pool, reason -> requests
        self.queued: dict[tuple[str, int], tuple[int, int]] = {}  # pool, priority -> requests, bytes
        self.saturations: Callable[[], Iterable[tuple[str, float]]] = lambda: ()
        """Gives (pool, saturation); 1 = no more can be sent."""

    def waiting(self, pool: str, priority: int, requests: int, size_bytes: int) -> None:
        """How much waits at a priority, after a change."""
        if requests or (pool, priority) in self.queued or len(self.queued) < MAX_SERIES:
            self.queued[pool, priority] = (requests, size_bytes)

    def sent(self, pool: str, priority: int, waited_s: float) -> None:
        """A request that waited goes on."""
        self._left(pool, priority, _SENT, waited_s)

    def refused(self, pool: str, priority: int, reason: Reason, waited_s: float) -> None:
        """A request is answered by the gateway, or its client has gone."""
        key = (pool, reason.value)
        self.dropped[key] = self.dropped.get(key, 0) + 1
        self._left(pool, priority, _LLM_D_OUTCOMES[reason], waited_s)

    def queued_in(self, pool: str) -> int:
        """Requests that wait in a pool."""
        return sum(requests for (key, _), (requests, _) in self.queued.items() if key == pool)

    def forget_pool(self, pool: str) -> None:
        """The pool exists no more."""
        self.waits = {key: waits for key, waits in self.waits.items() if key[0] != pool}
        self.dropped = {key: count for key, count in self.dropped.items() if key[0] != pool}
        self.queued = {key: queued for key, queued in self.queued.items() if key[0] != pool}

    def _left(self, pool: str, priority: int, outcome: str, waited_s: float) -> None:
        key = (pool, priority, outcome)
        waits = self.waits.get(key)
        if waits is None:
            if len(self.waits) >= MAX_SERIES:
                key = (pool, 0, outcome)
            waits = self.waits.setdefault(key, Distribution(WAIT_BOUNDS_S))
        waits.add(waited_s)

    def collect(self) -> Iterator[Metric | HistogramFamily]:
        """The families, under our own and llm-d's names."""
        dropped = CounterMetricFamily(
            "fairlead_gateway_requests_dropped", "Requests that flow control refused.", labels=("pool", "reason")
        )
        for labels, count in self.dropped.items():
            dropped.add_metric(list(labels), count)
        yield dropped
        saturations = list(self.saturations())
        for prefix in ("fairlead_gateway_", "llm_d_epp_", "inference_extension_"):
            yield HistogramFamily(
                prefix + "flow_control_request_queue_duration_seconds",
                "From a request's arrival at flow control to its leaving, of those that waited or were refused.",
                ("inference_pool", "priority", "outcome"),
                (((pool, str(priority), outcome), waits) for (pool, priority, outcome), waits in self.waits.items()),
            )
            sizes = GaugeMetricFamily(
                prefix + "flow_control_queue_size", "Requests waiting.", labels=("inference_pool", "priority")
            )
            lengths = GaugeMetricFamily(
                prefix + "flow_control_queue_bytes", "Bytes waiting.", labels=("inference_pool", "priority")
            )
            for (pool, priority), (requests, size_bytes) in self.queued.items():
                sizes.add_metric([pool, str(priority)], requests)
                lengths.add_metric([pool, str(priority)], size_bytes)
            yield sizes
            yield lengths
            saturation = GaugeMetricFamily(
                prefix + "flow_control_pool_saturation",
                "1 and above: nothing more is sent until something ends.",
                labels=("inference_pool",),
            )
            for pool, value in saturations:
                saturation.add_metric([pool], value)
            yield saturation
