"""The metrics of vLLM's V1 engine, which the simulated engine and vLLM for TPUs share.

Names: vLLM 0.32 `v1/metrics/loggers.py` and `v1/spec_decode/metrics.py`; labels `model_name` and `engine`, one per
data-parallel rank. Older names beside them: vLLM up to 0.9 (`gpu_cache_usage_perc`, `num_requests_swapped`).
"""

from __future__ import annotations

import math

from fairlead.engines.prometheus_text import MetricsPage, labels_of
from fairlead.engines.signal_rules import Count, Histogram, Mean, SignalTable, Succeeded, Total, whole

_CACHE_INFO = b"vllm:cache_config_info"
_LORA = b"vllm:lora_requests_info"
_SLEEP = b"vllm:engine_sleep_state"


class BlockTokens:
    """Tokens of a block, from the labels of `…cache_config_info`."""

    def __init__(self, info: bytes, size_label: str = "block_size") -> None:
        self._info = info
        self._size_label = size_label

    def read(self, page: MetricsPage) -> int | None:
        sizes = (whole(labels_of(s).get(self._size_label)) for s in page.samples(self._info))
        return next((size for size in sizes if size), None)


class CapacityTokens:
    """Tokens of all blocks of all ranks, from the same labels."""

    def __init__(self, info: bytes, size_label: str = "block_size", blocks_label: str = "num_gpu_blocks") -> None:
        self._info = info
        self._size_label, self._blocks_label = size_label, blocks_label

    def read(self, page: MetricsPage) -> int | None:
        capacity: int | None = None
        for sample in page.samples(self._info):
            labels = labels_of(sample)
            size, blocks = whole(labels.get(self._size_label)), whole(labels.get(self._blocks_label))
            if size and blocks:
                capacity = (capacity or 0) + size * blocks
        return capacity


class _NewestLora:
    """A label of the newest series of `lora_requests_info`, whose value is a timestamp; old ones stay on the page."""

    def __init__(self, label: str) -> None:
        self._label = label

    def text(self, page: MetricsPage) -> str | None:
        series = [s for s in page.samples(_LORA) if math.isfinite(s.value)]
        return labels_of(max(series, key=lambda s: s.value)).get(self._label) if series else None


class _LoraNames(_NewestLora):
    def read(self, page: MetricsPage) -> tuple[str, ...] | None:
        text = self.text(page)
        return None if text is None else tuple(name for name in text.split(",") if name)


class _LoraSlots(_NewestLora):
    def read(self, page: MetricsPage) -> int | None:
        return whole(self.text(page))


class _Sleeping:
    """Whether all ranks sleep."""

    def read(self, page: MetricsPage) -> bool | None:
        awake = [s.value for s in page.samples(_SLEEP) if labels_of(s).get("sleep_state") == "awake"]
        return not any(awake) if awake else None


VLLM_SIGNALS = SignalTable(
    running_requests=Count((b"vllm:num_requests_running",)),
    waiting_requests=Count((b"vllm:num_requests_waiting",)),
    swapped_requests=Count((b"vllm:num_requests_swapped",)),
    is_sleeping=_Sleeping(),
    kv_cache_usage_ratio=Mean((b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc")),
    prefix_cache_queried_tokens_total=Total((b"vllm:prefix_cache_queries_total",)),
    prefix_cache_hit_tokens_total=Total((b"vllm:prefix_cache_hits_total",)),
    preemptions_total=Total((b"vllm:num_preemptions_total",)),
    prompt_tokens_total=Total((b"vllm:prompt_tokens_total",)),
    generation_tokens_total=Total((b"vllm:generation_tokens_total",)),
    succeeded_requests_total=Succeeded((b"vllm:request_success_total",)),
    ttft=Histogram(b"vllm:time_to_first_token_seconds"),
    itl=Histogram(b"vllm:inter_token_latency_seconds", b"vllm:time_per_output_token_seconds"),
    e2e=Histogram(b"vllm:e2e_request_latency_seconds"),
    queue=Histogram(b"vllm:request_queue_time_seconds"),
    running_adapters=_LoraNames("running_lora_adapters"),
    waiting_adapters=_LoraNames("waiting_lora_adapters"),
    max_adapters=_LoraSlots("max_lora"),
    kv_block_tokens=BlockTokens(_CACHE_INFO),
    kv_cache_capacity_tokens=CapacityTokens(_CACHE_INFO),
    spec_decode_drafted_tokens_total=Total((b"vllm:spec_decode_num_draft_tokens_total",)),
    spec_decode_accepted_tokens_total=Total((b"vllm:spec_decode_num_accepted_tokens_total",)),
)
