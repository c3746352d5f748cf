"""What the gateway reads of a metrics page, and what it believes of it. Pure.

Histograms are left out: they are half of the cost of a page, and the gateway measures latencies itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache

from fairlead.engines import Engine, EngineSignals
from fairlead.engines.prometheus_text import MetricsPage
from fairlead.engines.signal_rules import SignalTable

MAX_REQUESTS = 1_000_000
"""More requests at one engine than this are a mistake of the page."""
MAX_ADAPTERS = 10_000

_LEFT_OUT = frozenset(
    (
        "ttft", "itl", "e2e", "queue", "swapped_requests", "preemptions_total", "succeeded_requests_total",
        "spec_decode_drafted_tokens_total", "spec_decode_accepted_tokens_total",
    )
)  # fmt: skip

_COUNTERS = (
    "prompt_tokens_total", "generation_tokens_total", "prefix_cache_queried_tokens_total",
    "prefix_cache_hit_tokens_total",
)  # fmt: skip

_START = b"process_start_time_seconds"


@lru_cache(maxsize=64)
def reader_for(engine: Engine) -> Callable[[bytes], tuple[EngineSignals, float | None]]:
    """Reads a page of this engine into its signals and the time its process started (seconds since the epoch)."""
    rules = {name: rule for name, rule in engine.signal_table.rules.items() if name not in _LEFT_OUT}
    rules_of = SignalTable(**rules).rules

    def read(text: bytes) -> tuple[EngineSignals, float | None]:
        page = MetricsPage(text)
        started = page.samples(_START)
        signals = EngineSignals(**{name: rule.read(page) for name, rule in rules_of.items()})
        return plausible(signals), max([s.value for s in started], default=None)

    return read


def plausible(signals: EngineSignals) -> EngineSignals:
    """The signals without values that cannot be true: what an engine gets wrong is unknown, not believed."""
    wrong: dict[str, None] = {}
    for name in ("running_requests", "waiting_requests", "swapped_requests", "loaded_adapters", "max_adapters"):
        value = getattr(signals, name)
        if value is not None and not 0 <= value <= MAX_REQUESTS:
            wrong[name] = None
    usage = signals.kv_cache_usage_ratio
    # Rounding, and blocks counted while they are freed, bring pages slightly above one.
    if usage is not None and not -0.001 <= usage <= 1.1:
        wrong["kv_cache_usage_ratio"] = None
    for name in ("kv_cache_capacity_tokens", "kv_block_tokens"):
        value = getattr(signals, name)
        if value is not None and not 0 < value < 2**48:
            wrong[name] = None
    for name in ("running_adapters", "waiting_adapters"):
        adapters = getattr(signals, name)
        if adapters is not None and len(adapters) > MAX_ADAPTERS:
            wrong[name] = None
    for name in _COUNTERS:
        value = getattr(signals, name)
        if value is not None and not (0 <= value < math.inf):
            wrong[name] = None
    return replace(signals, **wrong) if wrong else signals


def has_restarted(
    before: EngineSignals, started_before: float | None, now: EngineSignals, started_now: float | None
) -> bool:
    """Whether the engine is another process than at the report before: what it had in its caches is gone.

    The start time of its process decides where both pages have it; else counters that have gone back.
    """
    if started_before is not None and started_now is not None:
        return started_now > started_before + 0.5
    return any(is_lower(getattr(now, name), getattr(before, name)) for name in _COUNTERS)


def is_lower(now: float | None, before: float | None) -> bool:
    """Whether a counter has gone back; unknown values tell nothing."""
    return now is not None and before is not None and now < before


SIGNAL_NAMES = frozenset(f.name for f in fields(EngineSignals)) - _LEFT_OUT
"""The signals that the gateway's reports have where the engine does."""
