"""Scorers of the prefix cache: who already holds the beginning of the prompt, and where a prompt nobody holds goes."""

from __future__ import annotations

from typing import Any

from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.profile import Scorer
from fairlead.gateway.pick.query import Context


class PrefixCacheParameters(Parameters, frozen=True):
    """Of `prefix-cache-scorer`."""

    match_length_weight: float = 0.0
    """From 0 to 1: how much the length of the match counts beside its share of the prompt."""
    match_length_scale_tokens: int = 8192
    """Length of a match that counts as full."""
    prefix_match_info_producer_name: str = ""
    """Accepted and ignored: a pool has one prefix index."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.match_length_weight <= 1.0:
            raise ValueError(f"matchLengthWeight must be from 0 to 1, got {self.match_length_weight}")
        if self.match_length_weight and self.match_length_scale_tokens <= 0:
            raise ValueError(f"matchLengthScaleTokens must be above 0, got {self.match_length_scale_tokens}")


def prefix_cache(parameters: PrefixCacheParameters) -> Scorer:
    """The matched share of the prompt; with a weight on length, the square of length by scale is mixed in."""
    weight, scale = parameters.match_length_weight, parameters.match_length_scale_tokens

    def score(context: Context) -> list[float]:
        whole = context.matchable_tokens or context.query.prompt_tokens
        if whole <= 0 or not any(context.matched):
            return [0.0] * len(context.matched)
        shares = [m / whole if m < whole else 1.0 for m in context.matched]
        if not weight:
            return shares
        lengths = [min(1.0, m / scale) ** 2 for m in context.matched]
        return [weight * length + (1.0 - weight) * share for length, share in zip(lengths, shares, strict=True)]

    return score


class NoHitLruParameters(Parameters, frozen=True):
    """Of `no-hit-lru-scorer`."""

    lru_size: int = 1024
    """Accepted; every endpoint remembers its own last such request, so nothing has to be bounded."""
    prefix_match_info_producer_name: str = ""
    prefix_plugin_type: str = ""
    prefix_plugin_name: str = ""


def score_no_hit_lru(context: Context) -> list[float]:
    """A prompt that nobody holds: 1 for the endpoint whose last such prompt is longest ago, 0 for the latest.

    Caches then grow evenly. When somebody holds a part of the prompt: 0.5 for all.
    """
    candidates = context.candidates
    if any(context.matched):
        return [0.5] * len(candidates)
    if len(candidates) == 1:
        return [1.0]
    turns = sorted(
        range(len(candidates)),
        key=lambda i: (candidates[i].last_cold_pick, candidates[i].last_pick, candidates[i].address),
    )
    scores = [0.0] * len(candidates)
    last = len(candidates) - 1
    for rank, position in enumerate(turns):
        scores[position] = 1.0 - rank / last
    return scores


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType("prefix-cache-scorer", PrefixCacheParameters, scorer=prefix_cache),
    PluginType("no-hit-lru-scorer", NoHitLruParameters, scorer=lambda _: score_no_hit_lru),
)
