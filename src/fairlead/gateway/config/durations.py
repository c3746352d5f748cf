"""Durations as Go writes them ("1m30s", "200ms"), which is what configurations of Kubernetes components hold."""

from __future__ import annotations

import re

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LONGEST_S = 10 * 365 * 86_400.0


def parse_duration_s(text: str) -> float:
    """Seconds. Raises ValueError for what is no duration, is negative or longer than ten years."""
    if text == "0":
        return 0.0
    position, total_s = 0, 0.0
    while match := _PART.match(text, position):
        total_s += float(match[1]) * _UNITS_S[match[2]]
        position = match.end()
    if not text or position < len(text):
        raise ValueError(f"{text!r} is no duration: write 0 or numbers with ns, us, ms, s, m or h, such as 1m30s")
    if total_s > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than ten years")
    return total_s


def format_duration(seconds: float) -> str:
    """The shortest form with one unit that has whole or decimal seconds; reads back to the same value."""
    if seconds and seconds < 1.0 and round(seconds * 1e3, 6) == round(seconds * 1e3):
        return f"{round(seconds * 1e3)}ms"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
