"""Scorers of what engines report of their load: queue, batch and KV cache."""

from __future__ import annotations

from typing import Any

from fairlead.gateway.pick.plugin import NoParameters, Parameters, PluginType
from fairlead.gateway.pick.profile import Scorer
from fairlead.gateway.pick.query import Context
from fairlead.gateway.pick.scorers.unknown import fill_unknown, spread_down


def score_kv_cache(context: Context) -> list[float]:
    """The free part of the KV cache."""
    filled = fill_unknown([c.kv_cache_usage_ratio for c in context.candidates])
    return [1.0 - v for v in filled] if filled else [1.0] * len(context.candidates)


def score_queue(context: Context) -> list[float]:
    """Fewest waiting requests: 1, most: 0, linear between; all equal: 1."""
    return spread_down([c.waiting for c in context.candidates])


def score_running(context: Context) -> list[float]:
    """Smallest batch: 1, largest: 0, linear between; all equal: 1."""
    return spread_down([c.running for c in context.candidates])


class LoadAwareParameters(Parameters, frozen=True):
    """Of `load-aware-scorer`."""

    threshold: int = 128
    """Waiting requests from which on the score is 0; 0 or less stands for the default."""


def load_aware(parameters: LoadAwareParameters) -> Scorer:
    """An empty queue: 0.5, falling to 0 at the threshold."""
    threshold = parameters.threshold if parameters.threshold > 0 else 128
    scale = 0.5 / threshold

    def score(context: Context) -> list[float]:
        filled = fill_unknown([c.waiting for c in context.candidates])
        if not filled:
            return [0.5] * len(context.candidates)
        return [0.5 - scale * v if v < threshold else 0.0 for v in filled]

    return score


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType("kv-cache-utilization-scorer", NoParameters, scorer=lambda _: score_kv_cache),
    PluginType("queue-scorer", NoParameters, scorer=lambda _: score_queue),
    PluginType("running-requests-size-scorer", NoParameters, scorer=lambda _: score_running),
    PluginType("load-aware-scorer", LoadAwareParameters, scorer=load_aware),
)
