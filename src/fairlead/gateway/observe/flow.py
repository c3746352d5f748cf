"""What flow control did: waits by outcome, and what is queued now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from fairlead.gateway.observe.series import Capped, Distribution, histogram_family

WAIT_BOUNDS_S = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
MAX_TENANTS = 1000
MAX_SERIES = 4000

QueueState = tuple[str, int, str, int, int]
"""Pool, priority, tenant, requests, bytes."""

_LABELS = ("fairness_id", "priority", "outcome", "inference_pool")


class FlowCounts:
    """Waits of requests that flow control has let go, refused or lost, and a look at its queues."""

    def __init__(self) -> None:
        self.waits: dict[tuple[str, str, str, str], Distribution] = {}  # labels as in `_LABELS` -> seconds
        self.queues: Callable[[], Iterable[QueueState]] = lambda: ()
        """Gives what is queued now; set by whoever has the queues."""
        self.saturations: Callable[[], Iterable[tuple[str, float]]] = lambda: ()
        """Gives (pool, saturation); 1 = no more can be sent."""
        self._tenant = Capped(MAX_TENANTS)

    def left(self, pool: str, priority: int, tenant: str, outcome: str, waited_s: float) -> None:
        """A request is no longer in flow control; `outcome` says how it left."""
        key = (self._tenant(tenant), str(priority), outcome, pool)
        waits = self.waits.get(key)
        if waits is None:
            if len(self.waits) >= MAX_SERIES:
                key = ("other", "0", outcome, pool)
            waits = self.waits.setdefault(key, Distribution(WAIT_BOUNDS_S))
        waits.add(waited_s)

    def forget_pool(self, pool: str) -> None:
        """The pool exists no more."""
        self.waits = {key: waits for key, waits in self.waits.items() if key[3] != pool}

    def collect(self) -> Iterator[Metric]:
        """The families, under our own and llm-d's names."""
        queued = list(self.queues())
        saturations = list(self.saturations())
        for prefix in ("fairlead_gateway_", "llm_d_epp_", "inference_extension_"):
            yield histogram_family(
                prefix + "flow_control_request_queue_duration_seconds",
                "From a request's arrival at flow control to its leaving.",
                _LABELS,
                self.waits.items(),
            )
            sizes = GaugeMetricFamily(
                prefix + "flow_control_queue_size",
                "Requests waiting in the gateway.",
                labels=("fairness_id", "priority", "inference_pool"),
            )
            lengths = GaugeMetricFamily(
                prefix + "flow_control_queue_bytes",
                "Bytes of the requests waiting in the gateway.",
                labels=("fairness_id", "priority", "inference_pool"),
            )
            for labels, (requests, size_bytes) in self._summed(queued).items():
                sizes.add_metric(labels, requests)
                lengths.add_metric(labels, size_bytes)
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

    def _summed(self, queued: Iterable[QueueState]) -> dict[tuple[str, str, str], tuple[int, int]]:
        sums: dict[tuple[str, str, str], tuple[int, int]] = {}
        for pool, priority, tenant, requests, size_bytes in queued:
            key = (self._tenant(tenant), str(priority), pool)
            before = sums.get(key, (0, 0))
            sums[key] = (before[0] + requests, before[1] + size_bytes)
        return sums
