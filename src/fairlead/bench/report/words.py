"""Figures in words, the same in every report: units that suit the size, three digits, a dash for what is absent."""

from __future__ import annotations

import math

from fairlead.bench.summary import Distribution, StageSummary

ABSENT = "–"


def seconds(value: float | None) -> str:
    """µs, ms, s or min."""
    if value is None or not math.isfinite(value):
        return ABSENT
    size = abs(value)
    if size < 1e-9:
        # Less than any clock has: rounding.
        return "0 s"
    if size < 1e-3:
        return f"{value * 1e6:.3g} µs"
    if size < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if size < 600 else f"{value / 60:.3g} min"


def number(value: float | None) -> str:
    """Whole where it is large."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def percent(value: float | None) -> str:
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.4g} %".replace(" ", "")


def share(value: float | None) -> str:
    """A share as per cent."""
    return percent(None if value is None else 100 * value)


def at(of: Distribution | None, percentile: float, interval: bool = False) -> str:
    """A percentile, with its interval where there is one and it is asked for."""
    if of is None or percentile not in of.percentiles:
        return ABSENT
    text = seconds(of.percentiles[percentile]) if of.unit == "s" else number(of.percentiles[percentile])
    around = of.intervals.get(percentile)
    if interval and around is not None:
        low, high = (seconds(v) if of.unit == "s" else number(v) for v in (around.low, around.high))
        return f"{text} [{low} … {high}]"
    return text


def around(of: Distribution | None, percentile: float) -> str:
    """A percentile and how far its interval goes to the further side, in per cent of it: 125 ms ±2.4 %."""
    text = at(of, percentile)
    interval = of.intervals.get(percentile) if of is not None else None
    if of is None or interval is None or not of.percentiles.get(percentile, 0.0) > 0:
        return text
    middle = of.percentiles[percentile]
    # Values are known to half a per cent, whatever the interval says.
    apart = max(0.5, 100 * max(interval.high - middle, middle - interval.low) / middle)
    return f"{text} ±{apart:.0f} %" if apart >= 10 else f"{text} ±{apart:.2g} %"


def load(stage: StageSummary) -> str:
    """What was asked of a stage."""
    if stage.of == "users":
        return f"{number(stage.intended)} users"
    return f"{number(stage.intended)}/s" if stage.of == "rate" else "trace"


def stage_name(stage: StageSummary) -> str:
    return stage.name or f"stage {stage.index}"
