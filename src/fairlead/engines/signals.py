"""What an engine says about itself, in one typed form for all model servers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistogramSignal:
    """A cumulative histogram: upper bounds in seconds (the last is infinity) and observations up to each."""

    bounds_s: tuple[float, ...]
    cumulative: tuple[float, ...]
    sum_s: float
    count: float


@dataclass(frozen=True, slots=True)
class EngineSignals:
    """Every field is a value or None, and None always means: the engine did not say (never zero).

    Counters (`…_total`) grow since the engine started. Sums are over the engine's data-parallel ranks;
    `kv_cache_usage_ratio` is their mean, from 0 to 1.
    """

    running_requests: int | None = None
    waiting_requests: int | None = None
    kv_cache_usage_ratio: float | None = None
    kv_block_tokens: int | None = None
    kv_cache_capacity_tokens: int | None = None
    prefix_cache_queried_tokens_total: float | None = None
    prefix_cache_hit_tokens_total: float | None = None
    preemptions_total: float | None = None
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    succeeded_requests_total: float | None = None
    running_adapters: tuple[str, ...] | None = None
    waiting_adapters: tuple[str, ...] | None = None
    max_adapters: int | None = None
    ttft: HistogramSignal | None = None
    itl: HistogramSignal | None = None
    e2e: HistogramSignal | None = None


UNKNOWN = EngineSignals()
"""An engine of which nothing is known."""
