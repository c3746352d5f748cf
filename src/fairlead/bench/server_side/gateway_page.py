"""The page of an endpoint picker: Fairlead's own, and llm-d's and the Inference Extension's, whose names are tried in
this order.

Names: `fairlead.gateway.observe`; llm-d's picker (`llm_d_epp_…`) and the Gateway API Inference Extension
(`inference_pool_…`, `inference_extension_…`, `inference_objective_…`). A picker that serves several pools labels most
series with the pool: where one is asked for, the others are left out.
"""

from __future__ import annotations

import math

from fairlead.bench.server_side.reading import Reader, Reading
from fairlead.engines.prometheus_text import MetricsPage, labels_of
from fairlead.engines.signal_rules import Histogram
from fairlead.engines.signals import HistogramSignal

_POOL_LABELS = ("pool", "inference_pool", "name")
_OWN, _LLM_D, _GAIE = b"fairlead_gateway_", b"llm_d_epp_", b"inference_extension_"

GAUGES: dict[str, tuple[bytes, ...]] = {
    "gateway_in_flight_requests": (
        _OWN + b"in_flight_requests", _LLM_D + b"request_running", b"inference_objective_running_requests",
    ),
    "gateway_queued_requests": tuple(prefix + b"flow_control_queue_size" for prefix in (_OWN, _LLM_D, _GAIE)),
    "gateway_ready_endpoints": (_LLM_D + b"ready_endpoints", b"inference_pool_ready_pods"),
}  # fmt: skip
HIGHEST: dict[str, tuple[bytes, ...]] = {
    "gateway_saturation_ratio": tuple(prefix + b"flow_control_pool_saturation" for prefix in (_OWN, _LLM_D, _GAIE)),
}
"""Of several pools the highest, not the sum."""
COUNTERS: dict[str, tuple[bytes, ...]] = {
    "gateway_requests_total": (
        _OWN + b"requests_routed_total", _LLM_D + b"request_total", b"inference_objective_request_total",
    ),
    "gateway_answered_total": (_OWN + b"requests_answered_total",),
    "gateway_dropped_total": (_OWN + b"requests_dropped_total",),
    "gateway_errors_total": (_LLM_D + b"request_error_total", b"inference_objective_request_error_total"),
}  # fmt: skip
_HISTOGRAMS = {
    "queue": Histogram(*(p + b"flow_control_request_queue_duration_seconds" for p in (_OWN, _LLM_D, _GAIE))),
    "decision": Histogram(
        _OWN + b"decision_duration_seconds", _LLM_D + b"scheduler_e2e_duration_seconds",
        _GAIE + b"scheduler_e2e_duration_seconds",
    ),
}  # fmt: skip
_START = b"process_start_time_seconds"


def gateway_reader(pool: str | None) -> Reader:
    """`pool`: `namespace/name`, whose series alone count where the page tells pools apart; None: all of them."""
    wanted = frozenset((pool, pool.partition("/")[2])) if pool else None

    def read(text: bytes, with_histograms: bool) -> Reading:
        page = MetricsPage(text)
        values: dict[str, float] = {}
        for table, combined in ((GAUGES, sum), (COUNTERS, sum), (HIGHEST, max)):
            for signal, names in table.items():
                said = _values(page, names, wanted)
                if said:
                    values[signal] = float(combined(said))
        started = [s.value for s in page.samples(_START) if math.isfinite(s.value)]
        histograms: dict[str, HistogramSignal] = {}
        if with_histograms:
            for signal, rule in _HISTOGRAMS.items():
                histogram = rule.read(page)
                if histogram is not None and math.isfinite(histogram.count + histogram.sum_s):
                    histograms[signal] = histogram
        return Reading(values, max(started, default=None), histograms)

    return read


def _values(page: MetricsPage, names: tuple[bytes, ...], wanted: frozenset[str] | None) -> list[float]:
    for name in names:
        samples = [s for s in page.samples(name) if math.isfinite(s.value) and s.value >= 0]
        if samples:
            return [s.value for s in samples if wanted is None or _is_of(s.label_text, labels_of(s), wanted)]
    return []


def _is_of(text: bytes, labels: object, wanted: frozenset[str]) -> bool:
    if not text or not hasattr(labels, "get"):
        return True
    pools = [labels.get(label) for label in _POOL_LABELS if labels.get(label) is not None]
    return not pools or not wanted.isdisjoint(pools)
