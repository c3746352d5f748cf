"""Any endpoint: all alike, or in proportion to their scores.

One draw decides everything: what is left of it after the first choice is uniform again and makes the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.gateway.pick.pickers.max_score import PickerParameters
from fairlead.gateway.pick.plugin import PluginType
from fairlead.gateway.pick.profile import Picker
from fairlead.gateway.pick.query import Context


def random_picker(parameters: PickerParameters) -> Picker:
    """All with the same probability."""
    count = parameters.count

    def order(context: Context, totals: Sequence[float]) -> list[int]:
        return draw_in_proportion([1.0] * len(totals), context.draw, count)

    return order


def weighted_random_picker(parameters: PickerParameters) -> Picker:
    """In proportion to the score, without replacement; all alike when no score is above 0."""
    count = parameters.count

    def order(context: Context, totals: Sequence[float]) -> list[int]:
        return draw_in_proportion(totals, context.draw, count)

    return order


def draw_in_proportion(weights: Sequence[float], draw: float, count: int) -> list[int]:
    """Up to `count` different positions; those without weight only come when the others are used up."""
    left = [w if w > 0.0 else 0.0 for w in weights]
    remaining = list(range(len(left)))
    chosen: list[int] = []
    while remaining and len(chosen) < count:
        total = sum([left[i] for i in remaining])
        if total <= 0.0:
            left, total = [1.0] * len(left), float(len(remaining))
        target = draw * total
        for index in remaining:
            weight = left[index]
            if target < weight:
                break
            target -= weight
        else:  # rounding: the last one with weight
            index = next(i for i in reversed(remaining) if left[i] > 0.0)
            target, weight = 0.0, left[index]
        draw = min(target / weight, 1.0 - 2.0**-53)
        chosen.append(index)
        remaining.remove(index)
    return chosen


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType("random-picker", PickerParameters, picker=random_picker),
    PluginType("weighted-random-picker", PickerParameters, picker=weighted_random_picker),
)
