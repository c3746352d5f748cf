"""The metrics page of the simulated engine: vLLM's names, types, labels and buckets.

Protocol: vLLM V1's Prometheus metrics, as gateways, autoscalers and dashboards read them.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LABELS = ("model_name", "engine")
_TTFT_BUCKETS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
_ITL_BUCKETS_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_REQUEST_BUCKETS_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip

FINISHED_REASONS = ("stop", "length", "abort")


def _buckets_1_2_5(maximum: int) -> list[int]:
    values = [mantissa * 10**exponent for exponent in range(len(str(maximum))) for mantissa in (1, 2, 5)]
    return [v for v in values if v <= maximum]


class EngineMetrics:
    """One registry per engine, so that several can live in one process. Times are seconds."""

    def __init__(self, model: str, *, block_size: int, num_gpu_blocks: int, max_model_len: int) -> None:
        self._registry = CollectorRegistry()
        values = (model, "0")
        tokens = _buckets_1_2_5(max_model_len)

        def gauge(name: str, help: str) -> Gauge:
            return Gauge(f"vllm:{name}", help, _LABELS, registry=self._registry).labels(*values)

        def counter(name: str, help: str) -> Counter:
            return Counter(f"vllm:{name}", help, _LABELS, registry=self._registry).labels(*values)

        def histogram(name: str, help: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"vllm:{name}", help, _LABELS, buckets=buckets, registry=self._registry).labels(*values)

        self.running = gauge("num_requests_running", "Number of requests in model execution batches.")
        self.waiting = gauge("num_requests_waiting", "Number of requests waiting to be processed.")
        self.kv_cache_usage = gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")
        self.prefix_cache_queries = counter("prefix_cache_queries", "Prefix cache queries, in tokens.")
        self.prefix_cache_hits = counter("prefix_cache_hits", "Prefix cache hits, in tokens.")
        self.preemptions = counter("num_preemptions", "Preemptions so far.")
        self.prompt_tokens = counter("prompt_tokens", "Prefill tokens processed.")
        self.generation_tokens = counter("generation_tokens", "Generation tokens processed.")
        success = Counter(
            "vllm:request_success",
            "Requests finished, by reason.",
            (*_LABELS, "finished_reason"),
            registry=self._registry,
        )
        self.success = {reason: success.labels(*values, reason) for reason in FINISHED_REASONS}
        self.request_prompt_tokens = histogram("request_prompt_tokens", "Prefill tokens of a request.", tokens)
        self.request_generation_tokens = histogram(
            "request_generation_tokens", "Generation tokens of a request.", tokens
        )
        self.request_max_tokens = histogram("request_params_max_tokens", "The max_tokens of a request.", tokens)
        self.request_n = histogram("request_params_n", "The n of a request.", (1, 2, 5, 10, 20))
        self.ttft_s = histogram("time_to_first_token_seconds", "Time to first token in seconds.", _TTFT_BUCKETS_S)
        self.itl_s = histogram("inter_token_latency_seconds", "Time between tokens in seconds.", _ITL_BUCKETS_S)
        self.tpot_s = histogram(
            "request_time_per_output_token_seconds", "Time per output token of a request in seconds.", _ITL_BUCKETS_S
        )
        self.e2e_s = histogram(
            "e2e_request_latency_seconds", "End-to-end latency of a request in seconds.", _REQUEST_BUCKETS_S
        )
        self.queue_s = histogram("request_queue_time_seconds", "Time in WAITING in seconds.", _REQUEST_BUCKETS_S)
        self.inference_s = histogram(
            "request_inference_time_seconds", "Time in RUNNING in seconds.", _REQUEST_BUCKETS_S
        )
        self.prefill_s = histogram("request_prefill_time_seconds", "Time in PREFILL in seconds.", _REQUEST_BUCKETS_S)
        self.decode_s = histogram("request_decode_time_seconds", "Time in DECODE in seconds.", _REQUEST_BUCKETS_S)
        info = {
            "block_size": str(block_size),
            "cache_dtype": "auto",
            "enable_prefix_caching": "False",
            "engine": "0",
            "gpu_memory_utilization": "0.9",
            "num_gpu_blocks": str(num_gpu_blocks),
        }
        Gauge("vllm:cache_config_info", "Configuration of the KV cache.", tuple(info), registry=self._registry).labels(
            *info.values()
        ).set(1)

    def page(self) -> bytes:
        """The page in Prometheus text format 0.0.4."""
        return generate_latest(self._registry)
