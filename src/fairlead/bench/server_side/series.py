"""From looks to signals over time: gauges as they were seen, rates of counters over each interval, ratios of increases.

A rate stands at the end of its interval, which begins at the value before it: rates times intervals add up to what the
counter increased by. None: nothing was seen at that look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from fairlead.bench.server_side.history import History
from fairlead.bench.server_side.intervals import area, increase, seen
from fairlead.bench.server_side.power_page import device_of
from fairlead.bench.summary import Series

ALL = "all engines"
"""Source of the series that add up engines."""
MAX_POINTS, MOST_OF_ONE, LEAST_OF_ONE = 40_000, 600, 30
"""Of all series together, and of one: a summary, and a page of it, stay small however many engines and hours."""
GONE_S = 10.0
"""An engine that says nothing for longer is not there; for less, nothing is known of all of them together."""

GAUGES = {
    "running_requests": ("running_requests", "count"),
    "waiting_requests": ("waiting_requests", "count"),
    "kv_cache_usage_ratio": ("kv_cache_usage", "fraction"),
    "gateway_in_flight_requests": ("gateway_in_flight_requests", "count"),
    "gateway_queued_requests": ("gateway_queued_requests", "count"),
    "gateway_ready_endpoints": ("gateway_ready_endpoints", "count"),
    "gateway_saturation_ratio": ("gateway_saturation", "fraction"),
}
RATES = {
    "generation_tokens_total": ("output_tokens_per_s", "tokens/s"),
    "prompt_tokens_total": ("prompt_tokens_per_s", "tokens/s"),
    "succeeded_requests_total": ("requests_per_s", "queries/s"),
    "preemptions_total": ("preemptions_per_s", "1/s"),
    "gateway_requests_total": ("gateway_requests_per_s", "queries/s"),
    "gateway_dropped_total": ("gateway_dropped_per_s", "queries/s"),
    "gateway_errors_total": ("gateway_errors_per_s", "queries/s"),
}
RATIOS = {
    "prefix_hit_ratio": ("prefix_cache_hit_tokens_total", "prefix_cache_queried_tokens_total"),
    "draft_acceptance": ("spec_decode_accepted_tokens_total", "spec_decode_drafted_tokens_total"),
}
ADDED_UP = ("running_requests", "waiting_requests")
AVERAGED = ("kv_cache_usage_ratio",)
ADDED_RATES = ("generation_tokens_total", "prompt_tokens_total", "preemptions_total")


class Points(NamedTuple):
    """A signal at times; None: not known."""

    times: list[float]
    values: list[float | None]


def series_of(histories: Sequence[History], all_engines: Sequence[Series]) -> list[Series]:
    """All signals of all sources, with as many points as there is room for."""
    kinds = [(h, name) for h in histories for name in _signals(h)]
    room = MAX_POINTS // max(1, len(kinds) + len(all_engines))
    most = max(LEAST_OF_ONE, min(MOST_OF_ONE, room))
    made = list(all_engines)
    for history, name in kinds:
        points = _points(history, name, most)
        if any(value is not None for value in points.values):
            title, unit = _named(name)
            made.append(Series(history.source, title, unit, tuple(points.times), tuple(points.values)))
    return made


def _signals(history: History) -> Iterable[str]:
    yield from (name for name in (*GAUGES, *RATES) if name in history.columns)
    yield from (name for name, (part, of) in RATIOS.items() if part in history.columns and of in history.columns)
    domains = dict.fromkeys(device_of(c)[0] for c in history.columns if ":" in c)
    yield from (f"power:{domain}" for domain in domains)


def _named(name: str) -> tuple[str, str]:
    if name.startswith("power:"):
        return {"accelerators": "accelerator_power", "hosts": "host_power"}[name.partition(":")[2]], "W"
    return GAUGES.get(name) or RATES.get(name) or (name, "fraction")


def _points(history: History, name: str, most: int) -> Points:
    times = history.times
    if name in GAUGES:
        return averaged(times, history.columns[name], most)
    if name in RATES:
        return rates(times, history.columns[name], most)
    if name in RATIOS:
        part, of = (history.columns[column] for column in RATIOS[name])
        return ratios(times, part, of, most)
    return power(history, name.partition(":")[2], most)


def averaged(times: Sequence[float], values: Sequence[float], most: int) -> Points:
    """Neighbouring looks taken together until there are at most so many points."""
    wide = -(-len(times) // most) if times else 1
    at, means = [], []
    for k in range(0, len(times), wide):
        there = [(times[i], values[i]) for i in range(k, min(k + wide, len(times))) if not math.isnan(values[i])]
        at.append(_digits(sum(t for t, _ in there) / len(there) if there else times[k]))
        means.append(_digits(sum(v for _, v in there) / len(there)) if there else None)
    return Points(at, means)


def rates(times: Sequence[float], totals: Sequence[float], most: int) -> Points:
    """Per second, since the value before."""
    at: list[float] = []
    values: list[float | None] = []
    before: tuple[float, float] | None = None
    for k in _chosen(times, totals, most):
        t, total = times[k], totals[k]
        at.append(_digits(t))
        if math.isnan(total):
            values.append(None)
            continue
        known = before is not None and t > before[0]
        values.append(_digits((total - before[1]) / (t - before[0])) if known and before is not None else None)
        before = (t, total)
    return Points(at, values)


def ratios(times: Sequence[float], part: Sequence[float], of: Sequence[float], most: int) -> Points:
    """One increase through another, of each interval in which the other increased."""
    both = [p + o for p, o in zip(part, of, strict=True)]  # NaN where either is
    at: list[float] = []
    values: list[float | None] = []
    before: int | None = None
    for k in _chosen(times, both, most):
        at.append(_digits(times[k]))
        if math.isnan(both[k]):
            values.append(None)
            continue
        grown = of[k] - of[before] if before is not None else 0.0
        values.append(_digits((part[k] - part[before]) / grown) if before is not None and grown > 0 else None)
        before = k
    return Points(at, values)


def power(history: History, domain: str, most: int) -> Points:
    """Watts of all devices of a page: as it says them, else by its energy counters. None where one says nothing."""
    columns = {column: device_of(column) for column in history.columns if ":" in column}
    watts = {device: name for name, (of, kind, device) in columns.items() if (of, kind) == (domain, "watts")}
    joules = {device: name for name, (of, kind, device) in columns.items() if (of, kind) == (domain, "joules")}
    parts = [averaged(history.times, history.columns[name], most) for name in watts.values()]
    parts += [
        rates(history.times, history.columns[name], most) for device, name in joules.items() if device not in watts
    ]
    if not parts:
        return Points([], [])
    sums: list[float | None] = []
    for values in zip(*(part.values for part in parts), strict=True):
        there = [v for v in values if v is not None]
        sums.append(_digits(sum(there)) if len(there) == len(values) else None)
    return Points(parts[0].times, sums)


def _chosen(times: Sequence[float], values: Sequence[float], most: int) -> list[int]:
    """The first look, the last one with a value of each group, so that nothing that was counted is left out."""
    if not times:
        return []
    wide = -(-len(times) // most)
    if wide == 1:
        return list(range(len(times)))
    first = next((k for k in range(len(times)) if not math.isnan(values[k])), 0)
    chosen = [first]
    for k in range(first + 1, len(times), wide):
        group = range(k, min(k + wide, len(times)))
        chosen.append(next((i for i in reversed(group) if not math.isnan(values[i])), group[-1]))
    return chosen


# All engines together


def all_engines(histories: Sequence[History], every_s: float, longest_s: float) -> list[Series]:
    """Sums (of the use of KV caches: the mean) over the engines that were there, where all of them are known. None of
    one engine: it is the same as its own."""
    there = [h for h in histories if len(h.times) and any(name in h.columns for name in (*ADDED_UP, *ADDED_RATES))]
    if len(there) < 2:
        return []
    begin_s, end_s = min(h.times[0] for h in there), max(h.times[-1] for h in there)
    step_s = max(every_s, (end_s - begin_s) / MOST_OF_ONE)
    first = math.floor(begin_s / step_s) + 1
    grid = [k * step_s for k in range(first, max(first, math.floor(end_s / step_s)) + 1)]
    counts = [0] * len(grid)
    series = []
    for name in (*ADDED_UP, *AVERAGED, *ADDED_RATES):
        having = [h for h in there if name in h.columns]
        if not having:
            continue
        rows = [_cells(h, name, grid, step_s, longest_s) for h in having]
        values = [_together(cells, name in AVERAGED) for cells in zip(*rows, strict=True)]
        counts = [
            max(n, sum(c is not _ABSENT for c in cells))
            for n, cells in zip(counts, zip(*rows, strict=True), strict=True)
        ]
        title, unit = _named(name)
        times = tuple(_digits(t) for t in grid)
        series.append(Series(ALL, title, unit, times, tuple(values)))
    times = tuple(_digits(t) for t in grid)
    series.append(Series(ALL, "engines", "count", times, tuple(float(n) for n in counts)))
    return series


class _Absent:
    """An engine that was not there, of which nothing is missing."""


_ABSENT = _Absent()
_Cell = float | None | _Absent


def _cells(history: History, name: str, grid: Sequence[float], step_s: float, longest_s: float) -> list[_Cell]:
    column, times = history.columns[name], history.times
    points = seen(times, column)
    if not points:
        return [_ABSENT] * len(grid)
    silent = [(a, b) for (a, _), (b, _) in pairwise(points) if b - a > longest_s]
    cells: list[_Cell] = []
    for end_s in grid:
        begin_s = end_s - step_s
        gap = next(((a, b) for a, b in silent if a < end_s and begin_s < b), None)
        if end_s <= points[0][0] or begin_s >= points[-1][0]:
            cells.append(_ABSENT)
        elif gap is not None:
            cells.append(_ABSENT if gap[1] - gap[0] > GONE_S else None)
        elif name in RATES:
            grown = increase(points, begin_s, end_s)
            cells.append(grown.by / (grown.end_s - grown.begin_s) if grown is not None else None)
        else:
            cells.append(area(times, column, begin_s, end_s, longest_s).mean)
    return cells


def _together(cells: Sequence[_Cell], mean: bool) -> float | None:
    there = [c for c in cells if not isinstance(c, _Absent)]
    known = [c for c in there if c is not None]
    if not known or len(known) < len(there):
        return None
    return _digits(sum(known) / len(known) if mean else sum(known))


def _digits(value: float) -> float:
    """Nine of them: what is measured has fewer, and a summary is a third as long."""
    return float(f"{value:.9g}")


def highest(series: Iterable[Series], source: str, name: str, begin_s: float, end_s: float) -> float | None:
    """Of a series within a stretch."""
    for one in series:
        if (one.source, one.name) == (source, name):
            pairs: Iterable[tuple[float, float | None]] = zip(one.times_s, one.values, strict=True)
            return max((v for t, v in pairs if v is not None and begin_s <= t <= end_s), default=None)
    return None
