"""Up to which saturation each priority is sent: the lower it is, the earlier it waits. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.gateway.flow.settings import FlowSettings, Holdback, HoldbackDomain


def compute_ceilings(priorities: Sequence[int], settings: FlowSettings) -> list[float]:
    """Saturation below which each of the priorities in use, given from high to low, may be sent.

    Requests that may be shed leave the last part of the capacity to the others, but only while there are others.
    """
    holdback = settings.holdback
    ceilings = [1.0] * len(priorities) if holdback is None else _interpolated(priorities, holdback)
    if priorities and priorities[0] >= 0:
        sheddable = settings.sheddable_ceiling
        ceilings = [min(c, sheddable) if p < 0 else c for p, c in zip(priorities, ceilings, strict=True)]
    return ceilings


def _interpolated(priorities: Sequence[int], holdback: Holdback) -> list[float]:
    """`max_ceiling` for the highest priority, `min_ceiling` for the lowest; a lone one is not held back."""
    if len(priorities) < 2:
        return [holdback.max_ceiling] * len(priorities)
    span = holdback.max_ceiling - holdback.min_ceiling
    if holdback.domain is HoldbackDomain.RANK:
        return [holdback.max_ceiling - span * rank / (len(priorities) - 1) for rank in range(len(priorities))]
    lowest, width = priorities[-1], priorities[0] - priorities[-1]
    # Rounding must not lift a ceiling above the highest one.
    highest = holdback.max_ceiling
    return [min(highest, holdback.min_ceiling + span * (priority - lowest) / width) for priority in priorities]
