"""Ages as Kubernetes prints them: at most two units, coarser the longer the time."""

from __future__ import annotations

from fairlead.clock import parse_time

_MINUTE_S, _HOUR_S, _DAY_S, _YEAR_S = 60, 3_600, 86_400, 31_536_000


def human_duration(seconds: float) -> str:
    """A duration such as "90s", "5m30s", "3d4h" or "2y1d"; "<invalid>" for one clearly below zero."""
    # A clock that runs slightly behind is forgiven: up to two seconds below zero show as none.
    whole_s = int(seconds)
    if whole_s < -1:
        return "<invalid>"
    if whole_s < 0:
        return "0s"
    if whole_s < 2 * _MINUTE_S:
        return f"{whole_s}s"
    if whole_s < 10 * _MINUTE_S:
        return _two_units(whole_s, _MINUTE_S, "m", 1, "s")
    if whole_s < 3 * _HOUR_S:
        return f"{whole_s // _MINUTE_S}m"
    if whole_s < 8 * _HOUR_S:
        return _two_units(whole_s, _HOUR_S, "h", _MINUTE_S, "m")
    if whole_s < 2 * _DAY_S:
        return f"{whole_s // _HOUR_S}h"
    if whole_s < 8 * _DAY_S:
        return _two_units(whole_s, _DAY_S, "d", _HOUR_S, "h")
    if whole_s < 2 * _YEAR_S:
        return f"{whole_s // _DAY_S}d"
    if whole_s < 8 * _YEAR_S:
        return _two_units(whole_s, _YEAR_S, "y", _DAY_S, "d")
    return f"{whole_s // _YEAR_S}y"


def _two_units(whole_s: int, big_s: int, big: str, small_s: int, small: str) -> str:
    rest = whole_s % big_s // small_s
    return f"{whole_s // big_s}{big}{rest}{small}" if rest else f"{whole_s // big_s}{big}"


def age(timestamp: str | None, now: float) -> str:
    """How long ago an RFC 3339 time was; "<unknown>" without one, "<invalid>" for something that is no time."""
    if not timestamp:
        return "<unknown>"
    try:
        return human_duration(now - parse_time(timestamp))
    except ValueError:
        return "<invalid>"


def until(timestamp: str | None, now: float) -> str:
    """How long a time is ahead; "<unknown>" without one."""
    if not timestamp:
        return "<unknown>"
    try:
        return human_duration(parse_time(timestamp) - now)
    except ValueError:
        return "<invalid>"
