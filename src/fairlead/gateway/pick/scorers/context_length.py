"""Filter and scorer of pods that are made for a range of context lengths, which a label of theirs names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.profile import Filter, Scorer
from fairlead.gateway.pick.query import Context

_OUTSIDE = 0.3
"""Most that an endpoint can score whose range does not fit."""

_WIDTH_SCALE, _DISTANCE_SCALE = 10_000.0, 1_000.0
"""Tokens after which width and distance halve what they score."""


class ContextLengthParameters(Parameters, frozen=True):
    """Of `context-length-aware`."""

    label: str = "llm-d.ai/context-length-range"
    """Its value is "min-max", in tokens."""
    enable_filtering: bool = False
    """Drop endpoints whose range does not fit; those without the label fit always."""

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("label must not be empty")


@lru_cache(maxsize=1024)
def parse_range(text: str) -> tuple[int, int] | None:
    """The bounds; None when the text has none."""
    low, dash, high = text.partition("-")
    try:
        bounds = int(low), int(high)
    except ValueError:
        return None
    return bounds if dash and bounds[0] <= bounds[1] else None


def context_length_filter(parameters: ContextLengthParameters) -> Filter:
    """Those whose range has the request in it. Does nothing unless `enableFiltering`."""

    def keep(context: Context) -> list[int] | None:
        if not parameters.enable_filtering:
            return None
        tokens, kept = context.query.prompt_tokens, []
        for position, candidate in enumerate(context.candidates):
            text = candidate.labels.get(parameters.label)
            bounds = parse_range(text) if text is not None else (0, tokens)
            if bounds is not None and bounds[0] <= tokens <= bounds[1]:
                kept.append(position)
        return kept

    return keep


def context_length(parameters: ContextLengthParameters) -> Scorer:
    """Narrow ranges with room above the request score best; without the label 0.5, with a damaged one 0."""

    def score(context: Context) -> list[float]:
        tokens, scores = context.query.prompt_tokens, []
        for candidate in context.candidates:
            text = candidate.labels.get(parameters.label)
            if text is None:
                scores.append(0.5)
                continue
            bounds = parse_range(text)
            scores.append(0.0 if bounds is None else _range_score(tokens, *bounds))
        return scores

    return score


def _range_score(tokens: int, low: int, high: int) -> float:
    """As llm-d has it: 0.7 for narrowness and 0.3 for room, or how near the range is."""
    if not low <= tokens <= high:
        distance = tokens - high if tokens > high else low - tokens
        return _OUTSIDE / (1.0 + distance / _DISTANCE_SCALE)
    width = high - low
    if width == 0:
        return 1.0
    fit = 0.7 / (1.0 + width / _WIDTH_SCALE) + 0.3 * (high - tokens) / width
    return _OUTSIDE + fit * (1.0 - _OUTSIDE)


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType(
        "context-length-aware", ContextLengthParameters, filter=context_length_filter, scorer=context_length,
        strict=lambda p: p.enable_filtering,
    ),
)  # fmt: skip
