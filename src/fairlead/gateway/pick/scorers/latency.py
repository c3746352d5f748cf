"""`latency-scorer`: predicted headroom to the objectives, with llm-d's tiers, strategies and weights.

Headroom is objective - prediction, of TTFT and of ITL. Endpoints that keep both come first; when nobody does, idle
ones, then those that miss only the ITL, then only the TTFT, then both; the others score 0.
Without objectives every prediction misses one of 0, and the least prediction is the best.
"""

from __future__ import annotations

from typing import Any, Literal

from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.predict import predicted
from fairlead.gateway.pick.profile import Scorer
from fairlead.gateway.pick.query import Context
from fairlead.gateway.pick.scorers.engine_load import score_kv_cache
from fairlead.gateway.pick.scorers.prefix import PrefixCacheParameters, prefix_cache
from fairlead.gateway.pick.scorers.unknown import fill_unknown

_EQUAL_S = 1e-9


class LatencyParameters(Parameters, frozen=True):
    """Of `latency-scorer`."""

    ttft_weight: float = 0.8
    tpot_weight: float = 0.2
    headroom_selection_strategy: Literal["least", "most"] = "least"
    """Among endpoints that keep the objectives: the one that keeps them least early, or earliest."""
    composite_kv_weight: float = 1.0
    composite_queue_weight: float = 1.0
    composite_prefix_weight: float = 1.0
    """Of free cache, queue and prefix, when no endpoint's speed is known yet."""
    latency_prediction_info_producer_name: str = ""
    prefix_match_info_producer_name: str = ""

    def __post_init__(self) -> None:
        if self.ttft_weight < 0.0 or self.tpot_weight < 0.0:
            raise ValueError("ttftWeight and tpotWeight must be 0 or more")


def latency(parameters: LatencyParameters) -> Scorer:
    """The scorer with these weights."""

    def score(context: Context) -> list[float]:
        if not any([c.speed is not None for c in context.candidates]):
            return _composite(context, parameters)
        ttfts, itls = predicted(context)
        ttft_slo_s, itl_slo_s = context.query.ttft_slo_s or 0.0, context.query.itl_slo_s or 0.0
        rooms = [(ttft_slo_s - t, itl_slo_s - i) for t, i in zip(ttfts, itls, strict=True)]
        tier, keeps = _best_tier(context, rooms)
        most = keeps and parameters.headroom_selection_strategy == "most"
        return _score_tier(rooms, tier, parameters, most)

    return score


def _best_tier(context: Context, rooms: list[tuple[float, float]]) -> tuple[list[int], bool]:
    """Positions of the endpoints to compare, and whether they keep the objectives."""
    able = [i for i, (ttft, itl) in enumerate(rooms) if ttft >= 0.0 and itl >= 0.0]
    if able:
        return able, True
    idle = [i for i, c in enumerate(context.candidates) if c.in_flight == 0]
    itl_only = [i for i, (ttft, _) in enumerate(rooms) if ttft >= 0.0]
    ttft_only = [i for i, (_, itl) in enumerate(rooms) if itl >= 0.0]
    return idle or itl_only or ttft_only or list(range(len(rooms))), False


def _score_tier(
    rooms: list[tuple[float, float]], tier: list[int], parameters: LatencyParameters, most: bool
) -> list[float]:
    """Above 0 and up to 1 within the tier, in a hundred steps so that noise makes no difference; 0 outside it."""
    ttft_weight, itl_weight = parameters.ttft_weight, parameters.tpot_weight
    total = ttft_weight + itl_weight
    ttft_weight, itl_weight = (ttft_weight / total, itl_weight / total) if total > 0.0 else (1.0, 0.0)
    ttfts, ttft_range = _normalized([abs(rooms[i][0]) for i in tier])
    itls, itl_range = _normalized([abs(rooms[i][1]) for i in tier])
    if ttft_range <= _EQUAL_S < itl_range:
        ttft_weight, itl_weight = 0.0, 1.0
    elif itl_range <= _EQUAL_S < ttft_range:
        ttft_weight, itl_weight = 1.0, 0.0
    scores = [0.0] * len(rooms)
    for position, ttft, itl in zip(tier, ttfts, itls, strict=True):
        room = ttft_weight * ttft + itl_weight * itl
        scores[position] = (int((room if most else 1.0 - room) * 100.0) + 1) / 101.0
    return scores


def _normalized(values: list[float]) -> tuple[list[float], float]:
    """The values from 0 for the least to 1 for the greatest, and how far apart these are."""
    low, high = min(values), max(values)
    span = high - low
    if span <= _EQUAL_S:
        return [0.5] * len(values), span
    return [(v - low) / span for v in values], span


def _composite(context: Context, parameters: LatencyParameters) -> list[float]:
    kv, queue, prefix = (
        parameters.composite_kv_weight, parameters.composite_queue_weight, parameters.composite_prefix_weight,
    )  # fmt: skip
    total = kv + queue + prefix
    if total <= 0.0:
        kv, queue, prefix, total = 1.0, 0.0, 0.0, 1.0
    waiting = fill_unknown([c.waiting for c in context.candidates]) or [0.0] * len(context.candidates)
    longest = max(waiting)
    queues = [(longest - w) / longest if longest > 0.0 else 1.0 for w in waiting]
    free, held = score_kv_cache(context), _prefix_score(context)
    return [(kv * f + queue * q + prefix * h) / total for f, q, h in zip(free, queues, held, strict=True)]


_prefix_score = prefix_cache(PrefixCacheParameters())

PLUGINS: tuple[PluginType[Any], ...] = (PluginType("latency-scorer", LatencyParameters, scorer=latency),)
