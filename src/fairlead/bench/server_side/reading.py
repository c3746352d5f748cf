"""From a metrics page to values: engines by `fairlead.engines`, without what cannot be true."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from fairlead.engines import Engine
from fairlead.engines.prometheus_text import MetricsPage
from fairlead.engines.signal_rules import SignalTable
from fairlead.engines.signals import HistogramSignal

HISTOGRAMS = ("ttft", "itl", "queue", "e2e")
GAUGES = ("running_requests", "waiting_requests", "swapped_requests", "kv_cache_usage_ratio")
COUNTERS = (
    "prompt_tokens_total", "generation_tokens_total", "prefix_cache_queried_tokens_total",
    "prefix_cache_hit_tokens_total", "preemptions_total", "succeeded_requests_total",
    "spec_decode_drafted_tokens_total", "spec_decode_accepted_tokens_total",
)  # fmt: skip
MAX_REQUESTS = 1e7
"""More at one engine is a mistake of its page."""
_START = b"process_start_time_seconds"


class Reading(NamedTuple):
    """What a page says: values by signal, when its process started (seconds since the epoch), latency histograms."""

    values: Mapping[str, float]
    started_s: float | None
    histograms: Mapping[str, HistogramSignal]


Reader = Callable[[bytes, bool], Reading]
"""Of a page, with histograms or (at half the cost) without."""


@lru_cache(maxsize=64)
def engine_reader(engine: Engine) -> Reader:
    """Reads the pages of this engine. Never raises."""
    rules = engine.signal_table.rules
    values = SignalTable(**{name: rule for name, rule in rules.items() if name in GAUGES or name in COUNTERS}).rules
    histograms = SignalTable(**{name: rule for name, rule in rules.items() if name in HISTOGRAMS}).rules

    def read(text: bytes, with_histograms: bool) -> Reading:
        page = MetricsPage(text)
        started = [s.value for s in page.samples(_START) if math.isfinite(s.value)]
        said = {name: rule.read(page) for name, rule in values.items()}
        return Reading(
            {name: float(value) for name, value in said.items() if value is not None and is_plausible(name, value)},
            max(started, default=None),
            _histograms({name: rule.read(page) for name, rule in histograms.items()}) if with_histograms else {},
        )

    return read


def is_plausible(name: str, value: float) -> bool:
    """Rounding, and blocks counted while they are freed, bring usage slightly above one."""
    if not math.isfinite(value) or value < 0:
        return False
    return value <= 1.1 if name.endswith("_ratio") else value <= MAX_REQUESTS if name.endswith("_requests") else True


def _histograms(said: Mapping[str, HistogramSignal | None]) -> dict[str, HistogramSignal]:
    return {
        name: h
        for name, h in said.items()
        if h is not None and h.bounds_s[-1] == math.inf and all(map(math.isfinite, (*h.cumulative, h.sum_s, h.count)))
    }
