"""Cron schedules of five fields: whether one is valid, in the words of the parser that Kubernetes uses."""

from __future__ import annotations

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Lowest and highest value of each field, and names that stand for values.
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: index + 1 for index, name in enumerate(_MONTHS)}),
    (0, 6, {name: index for index, name in enumerate(_DAYS)}),
)
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def check_schedule(schedule: str) -> None:
    """Raises ValueError with the parser's message for a schedule that cannot be understood."""
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        _, space, schedule = schedule.partition(" ")
        if not space:
            raise ValueError("empty spec string")
        schedule = schedule.strip()
    if schedule.startswith("@"):
        _check_descriptor(schedule)
        return
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    for text, (low, high, names) in zip(fields, _FIELDS, strict=True):
        for expression in filter(None, text.split(",")):
            _check_range(expression, low, high, names)


def _check_descriptor(text: str) -> None:
    if text in _DESCRIPTORS:
        return
    if text.startswith("@every "):
        duration = text.removeprefix("@every ")
        if not duration or duration[-1] not in "hmsnµu" or not duration[0].isdigit():
            raise ValueError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
        return
    raise ValueError(f"unrecognized descriptor: {text}")


def _check_range(expression: str, low: int, high: int, names: dict[str, int]) -> None:
    span, *steps = expression.split("/")
    limits = span.split("-")
    if limits[0] in ("*", "?"):
        first, last = low, high
    else:
        first = last = _value(limits[0], names)
        if len(limits) == 2:
            last = _value(limits[1], names)
        elif len(limits) > 2:
            raise ValueError(f"too many hyphens: {expression}")
    step = 1
    if len(steps) == 1:
        step = _number(steps[0])
        if len(limits) == 1:
            last = high
    elif len(steps) > 1:
        raise ValueError(f"too many slashes: {expression}")
    if first < low:
        raise ValueError(f"beginning of range ({first}) below minimum ({low}): {expression}")
    if last > high:
        raise ValueError(f"end of range ({last}) above maximum ({high}): {expression}")
    if first > last:
        raise ValueError(f"beginning of range ({first}) beyond end of range ({last}): {expression}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {expression}")


def _value(text: str, names: dict[str, int]) -> int:
    named = names.get(text.lower())
    return _number(text) if named is None else named


def _number(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit():
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
