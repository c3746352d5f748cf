"""vLLM: `vllm serve`, and the metric names of its V1 engine.

Protocol: vLLM's command line, /health, and Prometheus metrics with labels `model_name` and `engine` (one per
data-parallel rank).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fairlead.engines.engine import EngineCommand, EngineSourceError, EngineSpec, Readiness
from fairlead.engines.prometheus_text import Sample, labels_of, read_samples
from fairlead.engines.signals import EngineSignals, HistogramSignal

_RUNNING = b"vllm:num_requests_running"
_WAITING = b"vllm:num_requests_waiting"
_KV_USAGE = b"vllm:kv_cache_usage_perc"
_CACHE_INFO = b"vllm:cache_config_info"
_PREFIX_QUERIES = b"vllm:prefix_cache_queries_total"
_PREFIX_HITS = b"vllm:prefix_cache_hits_total"
_PREEMPTIONS = b"vllm:num_preemptions_total"
_PROMPT_TOKENS = b"vllm:prompt_tokens_total"
_GENERATION_TOKENS = b"vllm:generation_tokens_total"
_SUCCESS = b"vllm:request_success_total"
_LORA = b"vllm:lora_requests_info"
_TTFT = b"vllm:time_to_first_token_seconds"
_ITL = b"vllm:inter_token_latency_seconds"
_E2E = b"vllm:e2e_request_latency_seconds"

_HISTOGRAMS = tuple(name + suffix for name in (_TTFT, _ITL, _E2E) for suffix in (b"_bucket", b"_sum", b"_count"))
_WANTED = (
    _RUNNING, _WAITING, _KV_USAGE, _CACHE_INFO, _PREFIX_QUERIES, _PREFIX_HITS, _PREEMPTIONS, _PROMPT_TOKENS,
    _GENERATION_TOKENS, _SUCCESS, _LORA, *_HISTOGRAMS,
)  # fmt: skip

_Samples = Mapping[bytes, list[Sample]]


class Vllm:
    """vLLM's OpenAI server. Loading a large model takes many minutes, so the start-up probe is patient."""

    runtime = "vllm"
    image = "vllm/vllm-openai:latest"
    readiness = Readiness(startup_timeout_s=3600, startup_period_s=2, period_s=5)
    metrics_path = "/metrics"

    def command(self, spec: EngineSpec) -> EngineCommand:
        argv = [
            *(spec.command or ("vllm", "serve")),
            _model_argument(spec.source),
            "--served-model-name",
            *spec.names,
            "--host",
            spec.host,
            "--port",
            str(spec.port),
            *spec.args,
        ]
        return EngineCommand(tuple(argv))

    def signals(self, metrics_page: bytes) -> EngineSignals:
        return vllm_signals(metrics_page)


def vllm_signals(metrics_page: bytes) -> EngineSignals:
    """Signals from a page with vLLM's metric names. Never raises."""
    samples = read_samples(metrics_page, _WANTED)
    block_tokens, capacity_tokens = _cache_capacity(samples)
    running_adapters, waiting_adapters, max_adapters = _adapters(samples)
    return EngineSignals(
        running_requests=_count(samples, _RUNNING),
        waiting_requests=_count(samples, _WAITING),
        kv_cache_usage_ratio=_mean(samples, _KV_USAGE),
        kv_block_tokens=block_tokens,
        kv_cache_capacity_tokens=capacity_tokens,
        prefix_cache_queried_tokens_total=_sum(samples, _PREFIX_QUERIES),
        prefix_cache_hit_tokens_total=_sum(samples, _PREFIX_HITS),
        preemptions_total=_sum(samples, _PREEMPTIONS),
        prompt_tokens_total=_sum(samples, _PROMPT_TOKENS),
        generation_tokens_total=_sum(samples, _GENERATION_TOKENS),
        succeeded_requests_total=_sum(samples, _SUCCESS),
        running_adapters=running_adapters,
        waiting_adapters=waiting_adapters,
        max_adapters=max_adapters,
        ttft=_histogram(samples, _TTFT),
        itl=_histogram(samples, _ITL),
        e2e=_histogram(samples, _E2E),
    )


def _model_argument(source: str) -> str:
    """What `vllm serve` takes as its model: a local path or a Hugging Face repository."""
    scheme, separator, rest = source.partition("://")
    if source.startswith("/"):
        return source
    if separator and scheme == "file" and rest.startswith("/"):
        return rest
    if separator and scheme == "hf" and rest:
        return rest
    raise EngineSourceError(
        f"runtime vllm cannot serve model source {source!r}: it takes an absolute path, file:///path or hf://owner/name"
    )


def _values(samples: _Samples, name: bytes) -> list[float]:
    return [s.value for s in samples.get(name, ()) if math.isfinite(s.value)]


def _sum(samples: _Samples, name: bytes) -> float | None:
    values = _values(samples, name)
    return sum(values) if values else None


def _count(samples: _Samples, name: bytes) -> int | None:
    total = _sum(samples, name)
    return None if total is None or total < 0 else int(total)


def _mean(samples: _Samples, name: bytes) -> float | None:
    values = _values(samples, name)
    return sum(values) / len(values) if values else None


def _cache_capacity(samples: _Samples) -> tuple[int | None, int | None]:
    """Tokens of a block, and of all blocks of all ranks."""
    block_tokens: int | None = None
    capacity_tokens: int | None = None
    for sample in samples.get(_CACHE_INFO, ()):
        labels = labels_of(sample)
        size, blocks = _whole(labels.get("block_size")), _whole(labels.get("num_gpu_blocks"))
        block_tokens = block_tokens or size
        if size and blocks:
            capacity_tokens = (capacity_tokens or 0) + size * blocks
    return block_tokens, capacity_tokens


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _adapters(samples: _Samples) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None, int | None]:
    """Running and waiting adapters and the slots, from the newest series: its value is a timestamp."""
    series = [s for s in samples.get(_LORA, ()) if math.isfinite(s.value)]
    if not series:
        return None, None, None
    labels = labels_of(max(series, key=lambda s: s.value))

    def names(key: str) -> tuple[str, ...]:
        return tuple(name for name in labels.get(key, "").split(",") if name)

    return names("running_lora_adapters"), names("waiting_lora_adapters"), _whole(labels.get("max_lora"))


def _histogram(samples: _Samples, name: bytes) -> HistogramSignal | None:
    """Ranks added up bucket by bucket; None when the page lacks the histogram or a bound of it is unreadable."""
    count, total_s = _sum(samples, name + b"_count"), _sum(samples, name + b"_sum")
    if count is None or total_s is None:
        return None
    cumulative: dict[float, float] = {}
    for sample in samples.get(name + b"_bucket", ()):
        rest = sample.label_text.partition(b'le="')[2]
        try:
            bound_s = float(rest[: rest.index(b'"')])
        except ValueError:
            return None
        cumulative[bound_s] = cumulative.get(bound_s, 0.0) + sample.value
    bounds_s = tuple(sorted(cumulative))
    return HistogramSignal(bounds_s, tuple(cumulative[b] for b in bounds_s), total_s, count)
