"""Cutting and stretching a stream of requests: a window of its time, another speed, another rate, a first part."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice

from fairlead.workload.request import TraceRequest


def shaped(
    requests: Iterable[TraceRequest],
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    speed: float = 1.0,
    rate_per_s: float | None = None,
    limit: int | None = None,
    rng: random.Random | None = None,
) -> Iterator[TraceRequest]:
    """The requests of the window that starts at `start_s`, `speed` times as fast, counted from the window's start.

    `rate_per_s` replaces the arrivals by a Poisson process of that rate (which needs `rng`); lengths and order stay.
    Times of the window are those of the trace, before `speed`. Raises ValueError for values that make no sense.
    """
    _check(start_s, duration_s, speed, rate_per_s, limit)
    windowed = requests if start_s == 0 and duration_s is None else _window(requests, start_s, duration_s)
    timed = windowed if speed == 1 else _faster(windowed, speed)
    if rate_per_s is not None:
        timed = _poisson(timed, rate_per_s, rng or random.Random(0))
    return islice(timed, limit)


def _check(start_s: float, duration_s: float | None, speed: float, rate_per_s: float | None, limit: int | None) -> None:
    if start_s < 0:
        raise ValueError(f"start is {start_s}: seconds from the beginning of the trace, 0 or more")
    for name, value in (("duration", duration_s), ("speed", speed), ("rate", rate_per_s), ("limit", limit)):
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}: it must be greater than 0")


def _window(requests: Iterable[TraceRequest], start_s: float, duration_s: float | None) -> Iterator[TraceRequest]:
    end_s = float("inf") if duration_s is None else start_s + duration_s
    for request in requests:
        if request.time_s >= end_s:
            return
        if request.time_s >= start_s:
            request.time_s -= start_s
            yield request


def _faster(requests: Iterable[TraceRequest], speed: float) -> Iterator[TraceRequest]:
    for request in requests:
        request.time_s /= speed
        yield request


def _poisson(requests: Iterable[TraceRequest], rate_per_s: float, rng: random.Random) -> Iterator[TraceRequest]:
    now_s = 0.0
    for request in requests:
        now_s += rng.expovariate(rate_per_s)
        request.time_s = now_s
        yield request
