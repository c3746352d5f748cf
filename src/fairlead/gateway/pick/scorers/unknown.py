"""What a scorer takes for a signal that an endpoint does not report: the mean of those that do.

Silence is then neither rewarded nor punished.
"""

from __future__ import annotations

from collections.abc import Sequence


def fill_unknown(values: Sequence[float | None]) -> list[float] | None:
    """The values with the mean of the known in place of None; None when nothing is known."""
    known = [v for v in values if v is not None]
    if len(known) == len(values):
        return known
    if not known:
        return None
    mean = sum(known) / len(known)
    return [mean if v is None else v for v in values]


def spread_down(values: Sequence[float | None]) -> list[float]:
    """1 for the smallest, 0 for the largest, linear between; 1 for all when they are equal or nothing is known."""
    filled = fill_unknown(values)
    if not filled:
        return [1.0] * len(values)
    low, high = min(filled), max(filled)
    if high == low:
        return [1.0] * len(values)
    scale = 1.0 / (high - low)
    return [(high - v) * scale for v in filled]
