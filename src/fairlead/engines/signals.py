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
    `kv_cache_usage_ratio` is their mean, from 0 to 1. Histograms count requests (`itl`: tokens) since the start.
    """

    running_requests: int | None = None
    """In the batch, or in a decode slot."""
    waiting_requests: int | None = None
    """Accepted and not yet in the batch."""
    swapped_requests: int | None = None
    """Taken out of the batch and waiting to go on: swapped out, retracted or paused."""
    kv_cache_usage_ratio: float | None = None
    kv_block_tokens: int | None = None
    """Tokens of one block."""
    kv_cache_capacity_tokens: int | None = None
    prefix_cache_queried_tokens_total: float | None = None
    prefix_cache_hit_tokens_total: float | None = None
    preemptions_total: float | None = None
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    succeeded_requests_total: float | None = None
    """Without those that were aborted or failed, where the engine tells them apart."""
    running_adapters: tuple[str, ...] | None = None
    waiting_adapters: tuple[str, ...] | None = None
    loaded_adapters: int | None = None
    """Adapters in the accelerator's slots."""
    max_adapters: int | None = None
    """Slots for adapters."""
    spec_decode_drafted_tokens_total: float | None = None
    spec_decode_accepted_tokens_total: float | None = None
    is_sleeping: bool | None = None
    ttft: HistogramSignal | None = None
    """Arrival to first token."""
    itl: HistogramSignal | None = None
    """Token to token; of engines that say only the mean of each request, that (see the engine's module)."""
    e2e: HistogramSignal | None = None
    """Arrival to last token."""
    queue: HistogramSignal | None = None
    """Arrival to first scheduling."""


UNKNOWN = EngineSignals()
"""An engine of which nothing is known."""
