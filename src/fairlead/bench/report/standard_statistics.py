"""Figures as a Benchmark Report has them: what is not a number is left out."""

from __future__ import annotations

import math

from fairlead.bench.report.standard_schema import STATISTIC_FIELDS, Statistics
from fairlead.bench.summary import Distribution


def statistics_of(of: Distribution | None, units: str) -> Statistics | None:
    """None of no values, and of a mean that is not known."""
    if of is None or not of.count or not math.isfinite(of.mean):
        return None
    named = {STATISTIC_FIELDS[p]: v for p, v in of.percentiles.items() if p in STATISTIC_FIELDS and math.isfinite(v)}
    deviation = known(of.stddev)
    return Statistics(
        units=units,
        mean=of.mean,
        stddev=deviation if deviation is not None and deviation >= 0 else None,
        min=known(of.minimum),
        max=known(of.maximum),
        **named,
    )


def rate(value: float, units: str) -> Statistics | None:
    return Statistics(units=units, mean=value) if math.isfinite(value) else None


def known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def numbers_only(value: object) -> object:
    """Of plain data all but what JSON has no number for: a key whose value is infinite or no number is left out, in a
    list it is null."""
    if isinstance(value, dict):
        return {str(k): numbers_only(v) for k, v in value.items() if not _no_number(v)}
    if isinstance(value, list | tuple):
        return [None if _no_number(v) else numbers_only(v) for v in value]
    return value


def _no_number(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
