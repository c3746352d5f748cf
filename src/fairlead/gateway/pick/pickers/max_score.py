"""The endpoint with the highest score."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest
from typing import Any, Literal

from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.profile import MAX_FALLBACKS, Picker
from fairlead.gateway.pick.query import Context

NOISE = 1e-9
"""Differences that come from the order of additions."""


class PickerParameters(Parameters, frozen=True):
    """What the pickers of llm-d share."""

    max_num_of_endpoints: int = 1 + MAX_FALLBACKS
    """Endpoints to give: the pick and its fallbacks; 0 or less stands for the default."""

    @property
    def count(self) -> int:
        return self.max_num_of_endpoints if self.max_num_of_endpoints > 0 else 1 + MAX_FALLBACKS


class MaxScoreParameters(PickerParameters, frozen=True):
    """Of `max-score-picker`."""

    tie_tolerance: float = NOISE
    """Scores this close to the best count as equal to it."""
    ties: Literal["longest-wait", "random"] = "longest-wait"
    """Whom equal scores go to: the endpoint whose last request is longest ago, so that a burst goes round; or any."""


def max_score(parameters: MaxScoreParameters) -> Picker:
    """Best score first."""
    count, tolerance, at_random = parameters.count, parameters.tie_tolerance, parameters.ties == "random"

    def order(context: Context, totals: Sequence[float]) -> list[int]:
        candidates = context.candidates
        floor = max(totals) - tolerance
        tied = [i for i, total in enumerate(totals) if total >= floor]
        if len(tied) > 1:
            if at_random:
                start = int(context.draw * len(tied))
                tied = tied[start:] + tied[:start]
            else:
                turns = sorted([(candidates[i].last_pick, candidates[i].address, i) for i in tied])
                tied = [turn[2] for turn in turns]
        missing = count - len(tied)
        if missing > 0 and len(tied) < len(totals):
            inside = set(tied)
            rest = [(total, i) for i, total in enumerate(totals) if i not in inside]
            tied += [i for _, i in nlargest(missing, rest)]
        return tied[:count]

    return order


PLUGINS: tuple[PluginType[Any], ...] = (PluginType("max-score-picker", MaxScoreParameters, picker=max_score),)
