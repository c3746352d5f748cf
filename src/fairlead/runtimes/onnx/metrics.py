"""The metrics page.

Counters that mean what Triton Inference Server's mean carry Triton's names and labels (`nv_inference_…`, microseconds),
so that dashboards and autoscalers made for servers of this protocol work unchanged. What Triton lacks, latency
histograms above all, is named `fairlead_onnx_…`, in seconds.
"""

from __future__ import annotations

from collections import defaultdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_LABELS = ("model", "version")

_TRITON = {
    "nv_inference_request_success": ("counter", "Successful inference requests, all batch sizes"),
    "nv_inference_request_failure": ("counter", "Failed inference requests by reason"),
    "nv_inference_count": ("counter", "Inferences performed: rows of all requests"),
    "nv_inference_exec_count": ("counter", "Executions of the model"),
    "nv_inference_request_duration_us": ("counter", "Cumulative duration of successful requests in microseconds"),
    "nv_inference_queue_duration_us": ("counter", "Cumulative time in the queue in microseconds"),
    "nv_inference_compute_infer_duration_us": ("counter", "Cumulative time of executions in microseconds"),
    "nv_inference_pending_request_count": ("gauge", "Requests waiting for execution"),
}
"""Name -> type and help. Triton's counters do not end in _total, which prometheus_client insists on."""

_REASONS = {499: "CANCELED", 429: "REJECTED", 503: "REJECTED", 504: "REJECTED", 500: "BACKEND"}
"""Status -> Triton's reason of a failure; OTHER for the rest."""


class RuntimeMetrics:
    """One registry per server, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # name -> label text -> value
        self._triton: dict[str, dict[str, float]] = {name: defaultdict(float) for name in _TRITON}

        def histogram(name: str, help: str, buckets: tuple[float, ...] = _LATENCY_BUCKETS_S) -> Histogram:
            return Histogram(f"fairlead_onnx_{name}", help, _LABELS, buckets=buckets, registry=self._registry)

        self._requests = Counter(
            "fairlead_onnx_requests",
            "Requests answered, by protocol and HTTP status (499: the client went away).",
            (*_LABELS, "protocol", "code"),
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "fairlead_onnx_in_flight_requests", "Inference requests read and not answered.", registry=self._registry
        )
        self._running = Gauge(
            "fairlead_onnx_running_requests", "Requests in executions going on.", _LABELS, registry=self._registry
        )
        self._request_s = histogram("request_duration_seconds", "From the whole request read to its answer.")
        self._queue_s = histogram("queue_duration_seconds", "Wait for execution.")
        self._compute_s = histogram("compute_duration_seconds", "One execution of the model.")
        self._rows = histogram("batch_rows", "Rows of one execution.", _ROW_BUCKETS)
        self._batched = histogram("batch_requests", "Requests of one execution.", _ROW_BUCKETS)
        self._load_s = Gauge(
            "fairlead_onnx_model_load_duration_seconds",
            "How long the last load took.",
            _LABELS,
            registry=self._registry,
        )

    def answered(self, model: str, version: str, protocol: str, code: int, duration_s: float) -> None:
        """An inference request is over. `model` is empty for one that no model was found for."""
        self._requests.labels(model, version, protocol, str(code)).inc()
        if not model:
            return
        if code == 200:
            self._request_s.labels(model, version).observe(duration_s)
            self._add("nv_inference_request_success", model, version, 1)
            self._add("nv_inference_request_duration_us", model, version, duration_s * 1e6)
        else:
            labels = f'{_labels(model, version)},reason="{_REASONS.get(code, "OTHER")}"'
            self._triton["nv_inference_request_failure"][labels] += 1

    def loaded(self, model: str, version: str, duration_s: float) -> None:
        self._load_s.labels(model, version).set(duration_s)
        self.model(model, version)

    def unloaded(self, model: str, version: str) -> None:
        """The gauges of a model end with it; its counters stay."""
        self._load_s.remove(model, version)
        self._running.remove(model, version)
        self._triton["nv_inference_pending_request_count"].pop(_labels(model, version), None)

    def model(self, model: str, version: str) -> ModelMetrics:
        """What the queue of a model is observed with. Its series are there from now on, at zero."""
        for name in _TRITON:
            if name != "nv_inference_request_failure":
                self._add(name, model, version, 0)
        return ModelMetrics(self, model, version)

    def page(self) -> bytes:
        """The page in Prometheus text format 0.0.4."""
        lines = []
        for name, (kind, help) in _TRITON.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{{{labels}}} {value:.15g}" for labels, value in self._triton[name].items()]
        return "\n".join(lines).encode() + b"\n" + generate_latest(self._registry)

    def _add(self, name: str, model: str, version: str, value: float) -> None:
        self._triton[name][_labels(model, version)] += value


class ModelMetrics:
    """The observer of one model's queue (`batching.Observer`)."""

    def __init__(self, metrics: RuntimeMetrics, model: str, version: str) -> None:
        self._triton = metrics._triton
        self._labels = _labels(model, version)
        self._running = metrics._running.labels(model, version)
        self._queue_s = metrics._queue_s.labels(model, version)
        self._compute_s = metrics._compute_s.labels(model, version)
        self._rows = metrics._rows.labels(model, version)
        self._batched = metrics._batched.labels(model, version)

    def waiting(self, change: int) -> None:
        self._triton["nv_inference_pending_request_count"][self._labels] += change

    def running(self, change: int) -> None:
        self._running.inc(change)

    def queued(self, duration_s: float) -> None:
        self._queue_s.observe(duration_s)
        self._triton["nv_inference_queue_duration_us"][self._labels] += duration_s * 1e6

    def executed(self, rows: int, requests: int, duration_s: float) -> None:
        self._compute_s.observe(duration_s)
        self._rows.observe(rows)
        self._batched.observe(requests)
        self._triton["nv_inference_count"][self._labels] += rows
        self._triton["nv_inference_exec_count"][self._labels] += 1
        # Triton counts the time of an execution once for each of its requests.
        self._triton["nv_inference_compute_infer_duration_us"][self._labels] += duration_s * 1e6 * requests


def _labels(model: str, version: str) -> str:
    return f'model="{_escaped(model)}",version="{_escaped(version)}"'


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
