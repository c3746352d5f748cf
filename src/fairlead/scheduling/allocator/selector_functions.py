"""The functions that device selectors may call, on the values of `selector_values`.

What is missing in `FUNCTIONS` is left to the C++ runtime.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fairlead.kube import cel_patterns, cel_values
from fairlead.kube.cel_values import Version
from fairlead.kube.quantity import Quantity
from fairlead.scheduling.allocator.selector_values import (
    AT_MOST,
    BELOW,
    HIGHEST,
    LOWEST,
    NUMBERS,
    OPERATORS,
    PLUS,
    Fault,
    NoOverload,
    equal_or_not,
    includes,
    no_overload,
    ordering,
    type_name,
    whole,
)


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise Fault("no such overload: size")
    return len(value)


def _pattern(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a text and a regular expression."""

    def apply(text: Any, pattern: Any, *rest: Any) -> Any:
        _require_text(text, pattern)
        try:
            return function(text, pattern, *rest)
        except ValueError as error:
            raise Fault(str(error)) from None

    return apply


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = cel_patterns.find_all(text, pattern)
    return list(found if limit < 0 else found[:limit])


def _require_text(*values: Any) -> None:
    for value in values:
        if type(value) is not str:
            raise no_overload()


def _text(function: Callable[..., Any], *kinds: type) -> Callable[..., Any]:
    """A function of a string and of arguments of these kinds."""

    def apply(text: Any, *arguments: Any) -> Any:
        if type(text) is not str or any(type(a) is not k for a, k in zip(arguments, kinds, strict=False)):
            raise no_overload()
        return function(text, *arguments)

    return apply


def _char_at(text: str, place: int) -> str:
    if not 0 <= place <= len(text):
        raise Fault(f"index out of range: {place}")
    return text[place : place + 1]


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    for place in (start, stop):
        if not 0 <= place <= len(text):
            raise Fault(f"index out of range: {place}")
    if start > stop:
        raise Fault(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    if start < 0:
        raise Fault(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not part:
        return start
    if start < 0:
        raise Fault(f"index out of range: {start}")
    return -1 if start >= len(text) else text.rfind(part, 0, start + len(part))


def _place(in_text: Callable[..., Any], last: bool) -> Callable[..., Any]:
    """`indexOf` and `lastIndexOf` of texts and of lists."""

    def find(container: Any, item: Any, *start: Any) -> Any:
        if not isinstance(container, list) or start:
            return in_text(container, item, *start)
        places = [place for place, value in enumerate(container) if equal_or_not(value, item)]
        return places[-1 if last else 0] if places else -1

    return find


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not separator:
        parts = list(text)
        return parts if limit < 0 or limit >= len(parts) else [*parts[: limit - 1], text[limit - 1 :]]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _join(items: Any, separator: Any = "") -> str:
    if not isinstance(items, list):
        raise no_overload()
    _require_text(separator)
    for item in items:
        if type(item) is not str:
            raise Fault(f"join: invalid input: {str(item).lower() if type(item) is bool else item}")
    return str(separator).join(items)


def _ascii(change: str, text: str) -> str:
    return "".join(getattr(char, change)() if char.isascii() else char for char in text)


def _list(function: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    def apply(items: Any) -> Any:
        if not isinstance(items, list):
            raise no_overload()
        return function(items)

    return apply


def _sorted(items: list[Any]) -> bool:
    return all(AT_MOST(a, b) for a, b in itertools.pairwise(items))


def _extreme(name: str, better: Callable[[Any, Any], bool]) -> Callable[[list[Any]], Any]:
    def choose(items: list[Any]) -> Any:
        if not items:
            raise Fault(f"{name} called on empty list")
        return functools.reduce(lambda best, item: item if better(item, best) else best, items)

    return choose


def _sum(items: list[Any]) -> Any:
    if any(type(item) not in NUMBERS for item in items):
        raise no_overload()
    return functools.reduce(PLUS, items) if items else 0


def _quantity(text: Any) -> Quantity:
    _require_text(text)
    try:
        return Quantity.parse(text)
    except ValueError as error:
        raise Fault(str(error)) from None


def _semver(text: Any, normalize: Any = False) -> Version:
    _require_text(text)
    try:
        return Version.parse(cel_values.semver(text, bool(normalize)).text)
    except ValueError as error:
        raise Fault(str(error)) from None


def _parses(parse: Callable[..., Any]) -> Callable[..., bool]:
    def check(*arguments: Any) -> bool:
        _require_text(arguments[0])
        try:
            parse(*arguments)
        except Fault:
            return False
        return True

    return check


def _comparison(name: str, judge: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compare(left: Any, right: Any) -> Any:
        kind = type(left)
        if kind is type(right):
            if kind is Quantity:
                return judge(left.amount, right.amount)
            if kind is Version:
                return judge(left.rank, right.rank)
        raise no_overload(name, left, right)

    return compare


def _of(kind: type, name: str, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        if type(value) is not kind:
            raise no_overload(name, value)
        return compute(value)

    return apply


def _is_integer(value: Quantity) -> bool:
    amount = value.amount
    return amount == amount.to_integral_value() and LOWEST <= amount <= HIGHEST


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise Fault("cannot convert value to integer")
    return int(value.amount)


def _quantity_sum(name: str, sign: int) -> Callable[[Any, Any], Any]:
    def compute(left: Any, right: Any) -> Quantity:
        if type(left) is not Quantity or type(right) not in (Quantity, int):
            raise no_overload(name, left, right)
        return Quantity(left.amount + sign * (right.amount if isinstance(right, Quantity) else Decimal(right)))

    return compute


def _to_int(value: Any) -> int:
    if type(value) not in (int, float, str):
        raise no_overload()
    if type(value) is int:
        return value
    try:
        if type(value) is float and math.isfinite(value):
            return whole(int(value))
        if type(value) is str and value.strip() == value and "_" not in value:
            return whole(int(value))
    except ValueError:
        pass
    if type(value) is float:
        raise Fault("integer overflow")
    raise Fault(f"type conversion error from '{type_name(value)}' to 'int'")


def _to_double(value: Any) -> float:
    if type(value) not in (int, float, str):
        raise no_overload()
    if type(value) in NUMBERS:
        return float(value)
    try:
        if type(value) is str and value.strip() == value and "_" not in value:
            return float(value)
    except ValueError:
        pass
    raise Fault(f"type conversion error from '{type_name(value)}' to 'double'")


def _to_string(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return _float_text(value)
    raise no_overload()


def _float_text(value: float) -> str:
    """The shortest text that reads back as the number, with an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        mantissa, _, exponent = format(Decimal(repr(value)).normalize(), "e").partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].zfill(2)}"


def _naming(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Says which function does not take the values."""

    def apply(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except NoOverload:
            raise no_overload(name, *arguments) from None

    return apply


_UNNAMED: Mapping[str, Callable[..., Any]] = {
    **OPERATORS,
    "dyn": lambda value: value,
    "size": _size,
    "includes": includes,
    "startsWith": _text(str.startswith, str),
    "endsWith": _text(str.endswith, str),
    "contains": _text(operator.contains, str),
    "matches": _pattern(cel_patterns.matches),
    "find": _pattern(cel_patterns.find),
    "findAll": _pattern(_find_all),
    "isGreaterThan": _comparison("isGreaterThan", operator.gt),
    "isLessThan": _comparison("isLessThan", operator.lt),
    "compareTo": _comparison("compareTo", lambda a, b: int(a > b) - int(a < b)),
}
_NAMED: Mapping[str, Callable[..., Any]] = {
    "int": _to_int,
    "double": _to_double,
    "string": _to_string,
    "charAt": _text(_char_at, int),
    "indexOf": _place(_text(_index_of, str, int), last=False),
    "lastIndexOf": _place(_text(_last_index_of, str, int), last=True),
    "substring": _text(_substring, int, int),
    "split": _text(_split, str, int),
    "replace": _text(lambda text, old, new, count=-1: text.replace(old, new, count), str, str, int),
    "lowerAscii": _text(functools.partial(_ascii, "lower")),
    "upperAscii": _text(functools.partial(_ascii, "upper")),
    "trim": _text(str.strip),
    "join": _join,
    "isSorted": _list(_sorted),
    "min": _list(_extreme("min", BELOW)),
    "max": _list(_extreme("max", ordering("_>_", operator.gt))),
    "sum": _list(_sum),
    "quantity": _quantity,
    "isQuantity": _parses(_quantity),
    "semver": _semver,
    "isSemver": _parses(_semver),
    "isInteger": _of(Quantity, "isInteger", _is_integer),
    "asInteger": _of(Quantity, "asInteger", _as_integer),
    "asApproximateFloat": _of(Quantity, "asApproximateFloat", lambda q: float(q.amount)),
    "sign": _of(Quantity, "sign", lambda q: int(q.amount > 0) - int(q.amount < 0)),
    "add": _quantity_sum("add", 1),
    "sub": _quantity_sum("sub", -1),
    "major": _of(Version, "major", lambda v: v.numbers[0]),
    "minor": _of(Version, "minor", lambda v: v.numbers[1]),
    "patch": _of(Version, "patch", lambda v: v.numbers[2]),
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **_UNNAMED,
    **{name: _naming(name, function) for name, function in _NAMED.items()},
}
"""Functions by name; what is missing here is left to the C++ runtime."""
