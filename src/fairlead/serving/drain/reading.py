"""What of an engine's metrics page tells whether it has work and gets on with it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fairlead.engines import Engine, EngineSignals
from fairlead.engines.prometheus_text import MetricsPage

MAX_REQUESTS: Final = 1_000_000
"""More requests at one engine than this are a mistake of its page."""

_WANTED: Final = frozenset(
    (
        "running_requests", "waiting_requests", "swapped_requests", "kv_cache_usage_ratio", "prompt_tokens_total",
        "generation_tokens_total", "succeeded_requests_total",
    )
)  # fmt: skip
_START: Final = b"process_start_time_seconds"


@dataclass(frozen=True, slots=True)
class Reading:
    """One page. None where it does not say, or says what cannot be true."""

    in_flight: int | None = None
    tokens_total: float | None = None
    succeeded_total: float | None = None
    kv_usage: float | None = None
    started_s: float | None = None
    """When the process started, Unix time; the latest of several ranks."""

    @property
    def progress(self) -> tuple[float | None, ...] | None:
        """What changes whenever the engine does something; None where its page has nothing of the kind.

        The share of the KV cache is in it: a long prompt fills it piece by piece before its first token is counted.
        """
        if self.tokens_total is None and self.succeeded_total is None:
            return None
        return self.tokens_total, self.succeeded_total, self.kv_usage


@lru_cache(maxsize=64)
def reader_for(engine: Engine) -> Callable[[bytes], Reading]:
    """Reads a page of this engine, and of it no more than is needed. Never raises."""
    rules = {name: rule for name, rule in engine.signal_table.rules.items() if name in _WANTED}

    def read(page: bytes) -> Reading:
        series = MetricsPage(page)
        signals = EngineSignals(**{name: rule.read(series) for name, rule in rules.items()})
        started = max((sample.value for sample in series.samples(_START)), default=None)
        return Reading(
            _in_flight(signals),
            _sum(signals.prompt_tokens_total, signals.generation_tokens_total),
            _count(signals.succeeded_requests_total),
            _share(signals.kv_cache_usage_ratio),
            started,
        )

    return read


def _in_flight(signals: EngineSignals) -> int | None:
    if signals.running_requests is None:
        return None
    total = signals.running_requests + (signals.waiting_requests or 0) + (signals.swapped_requests or 0)
    return total if 0 <= total <= MAX_REQUESTS else None


def _sum(*counts: float | None) -> float | None:
    known = [count for count in counts if _count(count) is not None]
    return sum(c for c in known if c is not None) if known else None


def _count(value: float | None) -> float | None:
    return value if value is not None and 0 <= value < float("inf") else None


def _share(value: float | None) -> float | None:
    # Blocks that are counted while they are freed bring pages slightly above one.
    return min(1.0, max(0.0, value)) if value is not None and -0.001 <= value <= 1.1 else None
