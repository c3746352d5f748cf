"""Filters by load and by objectives: whom a request should not be given to any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fairlead.gateway.pick.candidate import Candidate
from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.predict import predicted
from fairlead.gateway.pick.profile import Filter
from fairlead.gateway.pick.query import Context

_SIGNALS: dict[str, Callable[[Candidate], float | None]] = {
    "active-requests": lambda c: c.in_flight,
    "running-requests": lambda c: c.running,
    "waiting-queue": lambda c: c.waiting,
    "kv-cache-utilization": lambda c: c.kv_cache_usage_ratio,
}


class Condition(Parameters, frozen=True):
    metric: Literal["active-requests", "running-requests", "waiting-queue", "kv-cache-utilization"]
    max_value: float

    def __post_init__(self) -> None:
        if self.max_value < 0.0:
            raise ValueError(f"maxValue of {self.metric} must be 0 or more, got {self.max_value}")
        if self.metric == "kv-cache-utilization" and self.max_value > 1.0:
            raise ValueError(f"maxValue of {self.metric} is a share and must be at most 1, got {self.max_value}")


class UtilizationParameters(Parameters, frozen=True):
    """Of `utilization-filter`."""

    conditions: tuple[Condition, ...]
    fallback_on_empty: bool = False
    """Keep everybody when nobody fulfils the conditions."""
    in_flight_load_producer_name: str = ""

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("conditions must not be empty")


def utilization(parameters: UtilizationParameters) -> Filter:
    """Those whose signals are at most their `maxValue`. A signal that is unknown does not speak against an endpoint."""
    limits = [(_SIGNALS[c.metric], c.max_value) for c in parameters.conditions]

    def keep(context: Context) -> list[int]:
        kept = []
        for position, candidate in enumerate(context.candidates):
            for signal, most in limits:
                value = signal(candidate)
                if value is not None and value > most:
                    break
            else:
                kept.append(position)
        return kept

    return keep


class SloHeadroomParameters(Parameters, frozen=True):
    """Of `slo-headroom-tier-filter`."""

    epsilon_explore_neg: float = 0.0
    """How often those that miss an objective are kept instead."""
    latency_prediction_info_producer_name: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.epsilon_explore_neg <= 1.0:
            raise ValueError(f"epsilonExploreNeg must be from 0 to 1, got {self.epsilon_explore_neg}")


def slo_headroom(parameters: SloHeadroomParameters) -> Filter:
    """Those that are predicted to keep the request's objectives; all when nobody does or the request has none."""

    def keep(context: Context) -> list[int] | None:
        query = context.query
        if query.ttft_slo_s is None and query.itl_slo_s is None:
            return None
        ttfts, itls = predicted(context)
        able: list[int] = []
        unable: list[int] = []
        for position, (ttft_s, itl_s) in enumerate(zip(ttfts, itls, strict=True)):
            keeps = (query.ttft_slo_s is None or ttft_s <= query.ttft_slo_s) and (
                query.itl_slo_s is None or itl_s <= query.itl_slo_s
            )
            (able if keeps else unable).append(position)
        if not able or not unable:
            return None
        return unable if context.draw < parameters.epsilon_explore_neg else able

    return keep


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType(
        "utilization-filter", UtilizationParameters, filter=utilization, strict=lambda p: not p.fallback_on_empty
    ),
    PluginType("slo-headroom-tier-filter", SloHeadroomParameters, filter=slo_headroom),
)
