"""RFC 3339 times as Go's `time.Parse` takes them: normal form, and its words for what is wrong.

The messages name the layout ("2006-01-02T15:04:05Z07:00") and the part that does not fit.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

SECONDS = "2006-01-02T15:04:05Z07:00"
MICROSECONDS = "2006-01-02T15:04:05.000000Z07:00"

_NORMAL = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{6})?Z")
_PARTS = (
    ("2006", re.compile(r"\d{4}")), ("-", re.compile("-")), ("01", re.compile(r"\d{2}")), ("-", re.compile("-")),
    ("02", re.compile(r"\d{2}")), ("T", re.compile("T")), ("15", re.compile(r"\d{2}")), (":", re.compile(":")),
    ("04", re.compile(r"\d{2}")), (":", re.compile(":")), ("05", re.compile(r"\d{2}")),
)  # fmt: skip
_LIMITS = {"01": (1, 12, "month"), "15": (0, 23, "hour"), "04": (0, 59, "minute"), "05": (0, 59, "second")}
_ZONE = re.compile(r"Z|[+-]\d{2}:\d{2}")
_FRACTION = re.compile(r"[.,]\d+")
_SIX_DIGITS = re.compile(r"\.\d{6}")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def normal_time(text: str) -> str:
    """A `metav1.Time` in UTC with whole seconds. Raises ValueError with Go's wording."""
    match = _NORMAL.fullmatch(text)
    if match is not None and match[1] is None:
        return text
    return _parse(text, SECONDS).strftime("%Y-%m-%dT%H:%M:%SZ")


def normal_micro_time(text: str) -> str:
    """A `metav1.MicroTime` in UTC with six digits of fraction. Raises ValueError with Go's wording."""
    match = _NORMAL.fullmatch(text)
    if match is not None and match[1] is not None:
        return text
    return _parse(text, MICROSECONDS).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parse(text: str, layout: str) -> datetime:
    rest = text
    numbers: dict[str, int] = {}
    for element, pattern in _PARTS:
        match = pattern.match(rest)
        if match is None:
            raise _cannot_parse(text, layout, rest, element)
        if len(element) > 1:
            numbers[element] = int(match[0])
            _check_range(text, layout, element, numbers[element])
        rest = rest[match.end() :]
    micros = 0
    fraction = _FRACTION.match(rest)
    if layout == MICROSECONDS:
        exact = _SIX_DIGITS.match(rest)
        if exact is None:
            raise _cannot_parse(text, layout, rest, ".000000")
        fraction = exact
    if fraction is not None:
        micros = int(fraction[0][1:7].ljust(6, "0"))
        rest = rest[fraction.end() :]
    zone = _ZONE.match(rest)
    if zone is None:
        raise _cannot_parse(text, layout, rest, "Z07:00")
    if rest[zone.end() :]:
        raise ValueError(f'parsing time "{text}": extra text: "{rest[zone.end() :]}"')
    _check_day(text, numbers)
    moment = f"{text[:19]}.{micros:06d}{'+00:00' if zone[0] == 'Z' else zone[0]}"
    return datetime.fromisoformat(moment).astimezone(UTC)


def _check_range(text: str, layout: str, element: str, value: int) -> None:
    low, high, name = _LIMITS.get(element, (0, 9999, ""))
    if not low <= value <= high:
        raise ValueError(f'parsing time "{text}": {name} out of range')


def _check_day(text: str, numbers: dict[str, int]) -> None:
    year, month, day = numbers["2006"], numbers["01"], numbers["02"]
    leap = month == 2 and (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    if not 1 <= day <= _DAYS[month - 1] + leap:
        raise ValueError(f'parsing time "{text}": day out of range')


def _cannot_parse(text: str, layout: str, rest: str, element: str) -> ValueError:
    return ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{element}"')
